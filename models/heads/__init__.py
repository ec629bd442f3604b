"""Temporal heads: fused steps in, a vector per step out, behind one contract (contract.py)."""
