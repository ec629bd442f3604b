"""The stage eval: metrics, baselines, plots, the report."""
