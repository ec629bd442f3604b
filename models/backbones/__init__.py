"""CNNs that encode frames."""
