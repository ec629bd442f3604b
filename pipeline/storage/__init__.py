"""Files between stages: work folders, run folders, tables, journals, locks."""
