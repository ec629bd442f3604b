"""The leak audit: clips of one recording across splits, groups or labels."""
