"""How labelled data sets are written: folders and tables, and how their cells are read."""
