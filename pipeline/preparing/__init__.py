"""The stages scan and prep: a data set looked into, its clips and features kept."""
