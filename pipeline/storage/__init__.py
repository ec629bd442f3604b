"""Files passed between the stages: work folders, run records, tables, journals and locks."""
