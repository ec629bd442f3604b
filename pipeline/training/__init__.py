"""The stage train: prepared clips to a trained run."""
