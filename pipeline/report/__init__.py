"""report.html: the page made from an evaluation."""
