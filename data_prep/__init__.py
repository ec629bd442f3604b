"""From files on disk to arrays: scan, probe, split, decode, store clips. Knows no torch."""
