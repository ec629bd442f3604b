"""Training: prepared clips to a trained run."""
