"""Widths of vectors that others need to know before the networks that make them are loaded."""

from __future__ import annotations

CHANGE_LAGS = (1, 5, 20)
"""Frames of about 10 ms over which the change of log-mel bands is measured."""
N_BAND_STATISTICS = 5 + len(CHANGE_LAGS)
WINDOW_BANDS = 128
"""Log-mel bands of a window of sound."""


def window_features(n_encoder_features: int) -> int:
    """Of a window of sound: the CNN's features of its picture, and statistics of its bands."""
    return n_encoder_features + N_BAND_STATISTICS * WINDOW_BANDS
