"""Data sets: scan into a manifest, infer groups, assign splits; storage of decoded clips."""
