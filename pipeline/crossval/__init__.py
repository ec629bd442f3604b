"""crossval: out-of-fold predictions of all clips, and a final model."""
