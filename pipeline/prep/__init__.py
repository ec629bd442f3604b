"""The stage prep: scan, decode and encode a labelled data set into a work folder."""
