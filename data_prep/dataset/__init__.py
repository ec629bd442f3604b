"""Which files there are, what is known of each, how they are split; clips on disk."""
