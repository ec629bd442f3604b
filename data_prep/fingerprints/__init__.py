"""What tells two recordings apart when names do not: what moves in them, how they sound."""
