import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.clip import dequantize
from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.features.encoded_clip import EncodedChunk
from pipeline.features.spectrogram_windows import (
    SpectrogramWindows,
    WindowCutter,
    spectrogram_windows,
)

PER_STEP = 12


def chunk(index: int, waveform: np.ndarray, audio_mask: np.ndarray) -> EncodedChunk:
    steps = audio_mask.size
    none = np.zeros(steps, np.bool_)
    return EncodedChunk(
        index, np.zeros((steps, 0), np.float16), np.zeros(steps), waveform, none, audio_mask, ()
    )


@settings(deadline=None, max_examples=120)
@given(
    parts=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    length=st.sampled_from([2, 12, 24, 60, 100]),
    hop=st.sampled_from([12, 6, 4]),
    seed=st.integers(0, 99),
)
def test_windows_are_those_of_the_whole_clip_whatever_the_chunks(parts, length, hop, seed) -> None:
    rng = np.random.default_rng(seed)
    steps = sum(parts)
    wave = rng.integers(1, 99, steps * PER_STEP).astype(np.int16)
    heard = rng.random(steps) > 0.2
    windows = SpectrogramWindows(length, hop, PER_STEP // hop)
    cutter, found, start = WindowCutter(windows), {}, 0
    for index, n in enumerate(parts):
        part = chunk(
            index, wave[start * PER_STEP : (start + n) * PER_STEP], heard[start : start + n]
        )
        for cut in cutter.push(part):
            found[cut.chunk.index, cut.row] = cut.samples
        # it waits for all of its windows, also for those whose sound is yet to come
        assert part.n_pending == windows.per_step * int(heard[start : start + n].sum())
        start += n
    for cut in cutter.finish():
        found[cut.chunk.index, cut.row] = cut.samples
    padded = np.concatenate([np.zeros(length), dequantize(wave, 1 / 32768), np.zeros(length)])
    expected, step = {}, 0
    for index, n in enumerate(parts):
        for row in range(n * windows.per_step):
            number = step * windows.per_step + row
            first = length + number * hop + (hop - length) // 2
            if heard[step + row // windows.per_step]:
                expected[index, row] = padded[first : first + length]
        step += n
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_little_sound_is_kept() -> None:
    cutter = WindowCutter(SpectrogramWindows(24, 12, 1))
    for index in range(500):
        list(cutter.push(chunk(index, np.ones(PER_STEP, np.int16), np.ones(1, np.bool_))))
        assert cutter._sound.size <= 3 * 24


def test_settings_become_samples() -> None:
    clip = ClipSettings(frame_rate_hz=2)
    assert spectrogram_windows(ModelSettings(), clip) == SpectrogramWindows(32000, 8000, 1)
    four = spectrogram_windows(ModelSettings(sound_hop_s=0.125, sound_window_s=1), clip)
    assert four == SpectrogramWindows(16000, 2000, 4)
    with pytest.raises(ValueError, match=r"sound_hop_s=0.3 does not divide a time step"):
        spectrogram_windows(ModelSettings(sound_hop_s=0.3), clip)
