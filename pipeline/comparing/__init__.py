"""The stage compare: several runs on the same clips."""
