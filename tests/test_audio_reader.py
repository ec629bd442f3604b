from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.audio import audio_reader
from data_prep.audio.audio_reader import AlignedAudio, AudioReader, audio_mask_of
from data_prep.decode_errors import DecodeErrors
from data_prep.media.pyav_media import seek
from data_prep.settings import ClipSettings
from tests.helpers.media import write_video


def aligned(path, rate_hz: int, zero_s: float, into_s: float, losses: DecodeErrors) -> AlignedAudio:
    clip = ClipSettings(audio_rate_hz=rate_hz)
    reader = AudioReader(str(path), clip, zero_s, into_s, 1e9, losses)
    return AlignedAudio(reader.pieces(), reader.ignored_spans)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), min_size=1, max_size=12),
    st.lists(st.integers(1, 50), min_size=1, max_size=12),
    st.integers(-30, 30),
)
def test_windows_are_the_track_cut_up(
    gaps_and_sizes: list[tuple[int, int]], windows: list[int], start: int
) -> None:
    """Whatever the pieces and the windows, sample p of the track ends at position p."""
    pieces, position = [], start
    for gap, size in gaps_and_sizes:
        position += gap
        pieces.append((position, np.arange(position, position + size, dtype=np.float32)))
        position += size
    track = {int(v): int(v) for _, piece in pieces for v in piece}
    sound = AlignedAudio(iter(pieces))
    edges = np.concatenate([[0], np.cumsum(windows)])
    for begin, end in pairwise(edges.tolist()):
        wave, heard = sound.window(begin, end - begin)
        for offset, p in enumerate(range(begin, end)):
            assert heard[offset] == (p in track)
            assert wave[offset] == track.get(p, 0)


def test_overlap_keeps_what_was_heard_first() -> None:
    pieces = [(0, np.full(10, 1, np.float32)), (5, np.full(10, 2, np.float32))]
    wave, heard = AlignedAudio(iter(pieces)).window(0, 15)
    assert wave.tolist() == [1] * 10 + [2] * 5
    assert heard.all()


def test_a_step_is_heard_from_a_tenth_of_a_second_on() -> None:
    heard = np.zeros(4000, bool)
    heard[:1000] = True
    heard[1000:1099] = True  # 99 ms at 1 kHz
    heard[2000:2100] = True  # 100 ms
    assert audio_mask_of(heard, 1000, 4000, 1000).tolist() == [True, False, True, False]


def test_half_of_a_short_last_step_is_enough() -> None:
    heard = np.zeros(2000, bool)
    heard[1000:1030] = True
    assert audio_mask_of(heard, 1000, 1050, 1000).tolist() == [False, True]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_beeps_come_out_at_their_times(tmp_path, suffix: str) -> None:
    """Encoder delay, container clock and resampler together shift sound by less than 5 ms."""
    path = tmp_path / f"beeps.{suffix}"
    times = [40 * i for i in range(100)]
    write_video(path, times, sound_ms=(0, 4000), beeps_ms=(500, 1750, 3200))
    with_zero = _zero_s(path)
    losses = DecodeErrors()
    wave, _ = aligned(path, 16_000, with_zero, 0.0, losses).window(0, 16_000 * 4)
    loud = np.abs(wave) > 0.25
    starts = [i / 16_000 for i in np.flatnonzero(loud) if not loud[max(0, i - 800) : i].any()]
    assert starts == [pytest.approx(t, abs=0.005) for t in (0.5, 1.75, 3.2)]
    assert losses.total == 0


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_resampling_keeps_length_and_place(tmp_path, rate: int) -> None:
    path = write_video(
        tmp_path / "a.mp4", [40 * i for i in range(75)], sound_ms=(0, 3000), beeps_ms=(1000,)
    )
    wave, heard = aligned(path, rate, 0.0, 0.0, DecodeErrors()).window(0, 3 * rate)
    assert heard.mean() > 0.99
    first = np.flatnonzero(np.abs(wave) > 0.25)[0]
    assert first / rate == pytest.approx(1.0, abs=0.005)


def _zero_s(path) -> float:
    from data_prep.media.probe import probe
    from data_prep.settings import LimitSettings

    return probe(str(path), LimitSettings()).zero_s


@pytest.mark.parametrize("landed", ["before", "after", "nowhere"])
def test_sound_deep_in_a_file_wherever_seeking_leads(tmp_path, monkeypatch, landed: str) -> None:
    path = write_video(
        tmp_path / "a.mp4", [40 * i for i in range(800)], sound_ms=(0, 32_000), beeps_ms=(26_000,)
    )

    def astray(container, stream, time_s: float) -> bool:
        return landed == "after" and seek(container, stream, 28.0)

    if landed != "before":
        monkeypatch.setattr(audio_reader, "seek", astray)
    losses = DecodeErrors()
    wave, heard = aligned(path, 16_000, 25.0, 25.0, losses).window(0, 5 * 16_000)
    assert heard.all()
    loud = np.flatnonzero(np.abs(wave) > 0.25)
    assert loud[0] / 16_000 == pytest.approx(1, abs=0.005)
    assert losses.total == 0
