"""Heads: features of time steps to logits."""
