"""The command line: commands and options, and everything that is printed."""
