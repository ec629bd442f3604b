import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.clip import ClipChunk
from data_prep.dataset.clip_store import (
    CLIP_SCHEMA,
    ClipOutcome,
    PartWriter,
    chunk_row,
    clip_spec,
    part_numbers,
    part_path,
    read_outcomes,
    read_rows,
    remove_temporary,
    row_chunk,
)
from data_prep.settings import ClipSettings
from data_prep.status import DataSetError, Status
from data_prep.video.resize import encode_jpeg


def chunk(steps: int, seed: int, index: int = 0) -> ClipChunk:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:48, 0:48]
    frames = np.stack(
        [np.stack([x * 3 + t, y * 3, x + y]).clip(0, 255) for t in range(steps)]
    ).astype(np.uint8)
    seen = rng.random(steps) > 0.2
    times = np.where(seen, np.arange(steps) + 0.48, np.nan)
    jpegs = tuple(encode_jpeg(f) if s else b"" for f, s in zip(frames, seen, strict=True))
    wave = rng.integers(-32768, 32768, steps * 100).astype(np.int16)
    return ClipChunk(index, frames, times, wave, seen, rng.random(steps) > 0.5, jpegs)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 64), st.integers(0, 1000))
def test_round_trip_is_exact_for_sound_and_close_for_frames(tmp_path_factory, steps, seed) -> None:
    path = tmp_path_factory.mktemp("store") / "part-00000.parquet"
    before = chunk(steps, seed)
    writer = PartWriter(path, CLIP_SCHEMA)
    writer.write_row(chunk_row("a", before))
    assert not path.exists()  # a part appears whole or not at all
    writer.finish({"a": ClipOutcome(Status.OK, "")})
    (row,) = read_rows(path)
    after = row_chunk(row, 48)
    assert np.array_equal(after.waveform, before.waveform)
    assert np.array_equal(after.frame_times_s, before.frame_times_s, equal_nan=True)
    assert np.array_equal(after.video_mask, before.video_mask)
    assert np.array_equal(after.audio_mask, before.audio_mask)
    for t in np.flatnonzero(before.video_mask):
        assert np.abs(after.frames[t].astype(int) - before.frames[t]).mean() < 2


def test_outcomes_name_failures_too(tmp_path) -> None:
    path = part_path(tmp_path, 3)
    writer = PartWriter(path, CLIP_SCHEMA)
    writer.write_row(chunk_row("a", chunk(2, 0)))
    outcomes = {
        "a": ClipOutcome(Status.PARTIAL, "cut", 2.0, 2, True, False),
        "b": ClipOutcome(Status.CRASHED, "SIGSEGV"),
    }
    writer.finish(outcomes)
    assert read_outcomes(path) == outcomes
    assert part_numbers(tmp_path) == [3]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_part_that_changed_on_disk_is_named(tmp_path, share: float) -> None:
    """One byte of a picture or a sound is enough."""
    path = part_path(tmp_path, 0)
    writer = PartWriter(path, CLIP_SCHEMA)
    for index in range(4):
        writer.write_row(chunk_row("a", chunk(20, index, index)))
    writer.finish({"a": ClipOutcome(Status.OK, "")})
    assert len(list(read_rows(path))) == 4
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataSetError, match=r"part-00000.parquet is damaged .*delete this file"):
        list(read_rows(path))


def test_clips_beside_a_wanted_one_are_not_read(tmp_path) -> None:
    """All of b's columns are damaged, which whoever reads them is told."""
    path = part_path(tmp_path, 0)
    writer = PartWriter(path, CLIP_SCHEMA)
    for seed, clip_id in enumerate("abc"):
        writer.write_row(chunk_row(clip_id, chunk(4, seed)))
    writer.finish({clip_id: ClipOutcome(Status.OK, "") for clip_id in "abc"})
    group = pq.ParquetFile(path).metadata.row_group(1)
    content = bytearray(path.read_bytes())
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema != "id":
            start = column.dictionary_page_offset or column.data_page_offset
            content[start + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    for wanted in ({"a"}, {"c"}, {"a", "c"}):
        assert {row["id"] for row in read_rows(path, ids=wanted)} == wanted
    assert not list(read_rows(path, ids={"d"}))
    with pytest.raises(DataSetError, match="damaged"):
        list(read_rows(path, ids={"b"}))


def test_an_abandoned_part_leaves_nothing(tmp_path) -> None:
    writer = PartWriter(part_path(tmp_path, 0), CLIP_SCHEMA)
    writer.write_row(chunk_row("a", chunk(2, 0)))
    writer.abandon()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".part-00001.parquet.77.tmp").touch()
    remove_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_another_folder() -> None:
    specs = {clip_spec(ClipSettings(frame_size_px=n)) for n in (224, 260)}
    assert len(specs) == 2


def test_folders_older_than_a_setting_are_found() -> None:
    """These names were given before clip.picture_change existed."""
    assert clip_spec(ClipSettings(frame_rate_hz=1.0)) == "2ca743ab8aab"
    usual = ClipSettings(frame_rate_hz=1.0)
    assert clip_spec(usual.sized(260)) == "64d84b38a663"
    assert clip_spec(usual.model_copy(update={"picture_change": True})) != "2ca743ab8aab"


def test_wrong_shapes_are_refused() -> None:
    good = chunk(3, 0)
    with pytest.raises(ValueError, match=r"frames must be \[3, 3, H, W\]"):
        ClipChunk(0, good.frames[:2], good.frame_times_s, good.waveform, good.video_mask,
                  good.audio_mask)  # fmt: skip
    with pytest.raises(ValueError, match="needs its frames as JPEGs"):
        chunk_row("a", ClipChunk(0, good.frames, good.frame_times_s, good.waveform,
                                 good.video_mask, good.audio_mask))  # fmt: skip
