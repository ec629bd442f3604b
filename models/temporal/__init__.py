"""Temporal models: one vector per time step in, one per time step out."""
