"""eval: scores with intervals, baselines, calibration, subgroups, comparison of runs."""
