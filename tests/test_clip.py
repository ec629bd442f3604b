"""Waveforms in 16 bits: nothing is clipped, nothing quiet is lost."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.clip import PCM16_SCALE, check_segment, dequantize, quantize
from data_prep.status import MediaError


@given(
    arrays(np.float32, st.integers(0, 50), elements=st.floats(-1, 1, width=32)),
    st.floats(-120, 40),
)
def test_sixteen_bits_of_the_loudest_sample(wave: np.ndarray, gain_db: float) -> None:
    wave = wave * np.float32(10 ** (gain_db / 20))
    # of denormal numbers float32 has no scale to store; no sound is as quiet
    assume(not wave.any() or np.abs(wave).max() > 1e-30)
    stored, scale = quantize(wave)
    back = dequantize(stored, scale)
    peak = float(np.abs(wave).max(initial=0.0))
    step = max(scale, PCM16_SCALE) if peak >= 2**-5 else scale
    assert np.abs(back - wave).max(initial=0.0) <= step * 1.01
    again, same = quantize(back)
    assert same == scale
    assert np.array_equal(again, stored)
    if peak:
        assert step <= max(peak, 2.0**-5) * 2 / 32768 * 32


@pytest.mark.parametrize(("peak", "scale"), [(0.5, 1), (-1.0, 1), (0.9999, 1), (3.98, 4), (1.0, 2)])
def test_ordinary_recordings_keep_the_ordinary_scale(peak: float, scale: int) -> None:
    assert quantize(np.array([0, peak], np.float32))[1] == scale * PCM16_SCALE


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (None, None, ""),
        (2.0, None, ""),
        (2.0, 10.5, ""),
        (2.0, 40.0, "the part ends at 40 s, the file at 10.0 s"),
        (9.995, None, "the part is 0.005 s long"),
        (9.995, 10.0, "the part is 0.005 s long"),
        (10.0, None, "the part starts at 10 s, the file ends at 10 s"),
    ],
)
def test_a_segment_lies_within_its_file(start_s, end_s, message: str) -> None:
    if message.startswith("the part ends"):
        assert check_segment(start_s, end_s, 10.0) == message
    elif message:
        with pytest.raises(MediaError, match=message):
            check_segment(start_s, end_s, 10.0)
    else:
        assert check_segment(start_s, end_s, 10.0) == ""


def test_a_whole_file_may_be_short() -> None:
    assert check_segment(None, None, 0.005) == ""
