"""The report: one page that opens from disk, and what it says in words."""
