"""Inference: from any files to class probabilities, and to a table that can be resumed."""
