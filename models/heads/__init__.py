"""Heads: from the temporal model's steps to logits."""
