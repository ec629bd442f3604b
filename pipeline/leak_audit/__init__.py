"""Leak audit: find clips of the same recording across splits, folds, groups or labels."""
