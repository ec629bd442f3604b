"""Readers of labelled data sets: folders of labels, and tables."""
