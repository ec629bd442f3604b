"""From files to features: decoding processes, frame encoder, feature store."""
