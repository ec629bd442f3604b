"""classify: any files to probabilities, and to a table that can be continued."""
