"""Data preparation, from files to arrays: scan, probe, split, decode, store. Without torch."""
