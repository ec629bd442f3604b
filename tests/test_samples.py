"""

What processes map is what was written, kind and shape of numbers too.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_prep.video.resize import encode_jpeg
from models.audio.front_end import AudioFrontEnd
from models.settings import ModelSettings
from pipeline.features.samples import (
    LengthBuckets,
    Sample,
    collate,
    make_sample,
    map_samples,
    one_thread,
    write_samples,
)

RATE_HZ = 8000


def front_end(kind: str) -> AudioFrontEnd:
    return AudioFrontEnd(ModelSettings(audio_front_end=kind), RATE_HZ, RATE_HZ)


def sample(kind: str, steps: int, heard: bool) -> Sample:
    wave = np.zeros(steps * RATE_HZ, np.float32)
    if heard:
        wave[:] = np.random.default_rng(steps).uniform(-0.3, 0.3, wave.size)
    return make_sample(
        np.ones((steps, 6), np.float16), wave, np.ones(steps, bool), np.full(steps, heard),
        front_end(kind),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["log_mel", "waveform"])
def test_a_clip_without_sound_costs_nothing_and_is_what_silence_gives(kind: str) -> None:
    silent = sample(kind, 3, heard=False)
    computed = front_end(kind)(torch.zeros(1, 3 * RATE_HZ))[0]
    assert torch.equal(silent.audio.float(), computed)


def test_sound_is_floating_point() -> None:
    assert sample("waveform", 2, heard=True).audio.dtype == torch.float32
    assert sample("log_mel", 2, heard=True).audio.dtype == torch.float32


@pytest.mark.parametrize("kind", ["log_mel", "waveform"])
def test_collating_pads_and_loses_nothing(kind: str) -> None:
    clips = [sample(kind, steps, heard=True) for steps in (2, 5, 1)]
    batch = collate(clips)
    assert batch.lengths.tolist() == [2, 5, 1]
    for row, clip in enumerate(clips):
        n, m = clip.n_steps, clip.audio.shape[0]
        assert torch.equal(batch.video[row, :n], clip.video)
        assert torch.equal(batch.audio[row, :m], clip.audio)
        assert not batch.audio_mask[row, n:].any()
        assert not batch.video[row, n:].any()


def test_jpegs_become_frames_of_the_steps_with_picture() -> None:
    picture = np.full((3, 16, 16), 90, np.uint8)
    bare = sample("log_mel", 3, heard=False)
    own = Sample(
        bare.video, bare.audio, torch.tensor([True, False, True]), bare.audio_mask,
        (encode_jpeg(picture), b"", encode_jpeg(picture)),
    ).with_frames()  # fmt: skip
    assert own.frames is not None
    assert own.frames.shape == (2, 3, 16, 16)
    assert abs(int(own.frames.float().mean()) - 90) <= 1
    assert own.jpegs == ()


def test_one_thread_is_given_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_buckets_cover_every_clip_once_and_follow_the_epoch() -> None:
    buckets = LengthBuckets([5, 1, 9, 9, 2, 2, 7], 2, seed=0)
    first, second = buckets.epoch(0), buckets.epoch(1)
    assert sorted(i for batch in first for i in batch) == list(range(7))
    assert first != second
    assert buckets.epoch(0) == first


def test_whoever_sees_no_picture_has_no_frames_either() -> None:
    there = torch.ones(2, dtype=torch.bool)
    sample = Sample(
        torch.zeros(2, 3), torch.zeros(2, 1), there, there, (b"x", b"y"),
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
    )  # fmt: skip
    deaf, blind = sample.with_modalities(True, False), sample.with_modalities(False, True)
    assert (deaf.video_mask.all(), deaf.audio_mask.any()) == (True, False)
    assert deaf.frames is sample.frames
    assert (blind.video_mask.any(), blind.audio_mask.all()) == (False, True)
    assert (blind.frames, blind.jpegs) == (None, ())


def mapped_sample(n_steps: int, width: int, is_mirrored: bool, per_step: int = 3) -> Sample:
    torch.manual_seed(n_steps)
    return Sample(
        torch.rand(n_steps, width).half(),
        torch.rand(n_steps * per_step, 2),
        torch.rand(n_steps) > 0.5,
        torch.rand(n_steps) > 0.5,
        mirrored=torch.rand(n_steps, width).half() if is_mirrored else None,
    )


@pytest.mark.parametrize("width", [4, 0])
@pytest.mark.parametrize("mirrored", [(True, True, True), (False,) * 3, (False, True, False)])
def test_they_come_back(tmp_path, width: int, mirrored) -> None:
    written = [mapped_sample(n, width, m) for n, m in zip((5, 1, 7), mirrored, strict=True)]
    write_samples(tmp_path, written)
    read = map_samples(tmp_path)
    assert len(read) == 3
    for one, other in zip(written, read, strict=True):
        for name in ("video", "audio", "video_mask", "audio_mask", "mirrored"):
            a, b = getattr(one, name), getattr(other, name)
            if a is None or not a.numel():
                assert b is None or b.shape == a.shape
            else:
                assert a.dtype == b.dtype
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_disk_that_is_full_is_an_error_and_no_end(tmp_path) -> None:
    """A file may not grow here; into a mapped one it would be a signal that ends the process."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_samples(tmp_path, [mapped_sample(500, 100, True)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_change_stays_in_its_process(tmp_path) -> None:
    write_samples(tmp_path, [mapped_sample(2, 3, False)])
    map_samples(tmp_path)[0].audio.zero_()
    assert map_samples(tmp_path)[0].audio.abs().sum() > 0
