"""The stage audit: recordings that stand in a data set twice, and what they do to a score."""
