"""Numbers from predictions: scores with intervals, calibration, baselines, the schema."""
