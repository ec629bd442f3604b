"""The order in which chunks leave the engine, and what it holds back."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.clip import ClipChunk, ClipSource
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings
from data_prep.status import Status
from data_prep.video.frame_difference import N_FIELDS
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encode_stream import (
    Encoders,
    FeatureBatches,
    _OrderedOutput,
    encode_clips,
    whole_clips,
)
from pipeline.features.encoded_clip import EncodedChunk
from pipeline.features.spectrogram_windows import SpectrogramWindows
from pipeline.storage.workspace import EncoderIdentity
from tests.helpers.media import write_video

SIDE_PX = 32
SETTINGS = DecodeSettings(ClipSettings(frame_size_px=SIDE_PX), LimitSettings())


class MeanColour:
    """A BatchEncoder whose features are a frame's mean colours; answers when told to."""

    def __init__(self, batch: int, late: bool = False) -> None:
        self.batch, self.n_features, self._late = batch, 3, late
        self.identity = EncoderIdentity(
            name="mean", weights_digest="", n_features=3, backend="", precision=""
        )
        self._held: list = []
        self.sizes: list[int] = []

    def submit(self, frames, done) -> None:
        self.sizes.append(len(frames))
        vectors = np.stack([f.mean(axis=(1, 2)) for f in frames]).astype(np.float16)
        if self._late:
            self._held.append((done, vectors))
            if len(self._held) > 3:
                self.wait()
        else:
            done(vectors)

    def wait(self) -> None:
        for done, vectors in reversed(self._held):  # not in the order they were asked for
            done(vectors)
        self._held.clear()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[ClipSource]:
    """One of 80 s, then six of one to four seconds, one of them no video."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / "0.mp4", [500 * k for k in range(160)])]
    paths += [write_video(folder / f"{i}.mp4", [100 * k for k in range(10 * i)]) for i in (1, 2, 4)]
    (folder / "5.mp4").write_text("no video")
    paths += [folder / "5.mp4", write_video(folder / "6.mp4", [100 * k for k in range(30)])]
    return [ClipSource(str(path), str(path)) for path in paths]


def run(videos, encoder, in_order: bool, workers: int = 2):
    with DecodePool(workers) as pool:
        return list(encode_clips(videos, SETTINGS, pool, lambda: Encoders(encoder), in_order))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("late", [False, True])
def test_clips_leave_in_order_and_whole(videos, batch: int, late: bool) -> None:
    clips = list(whole_clips(run(videos, MeanColour(batch, late), in_order=True)))
    assert [clip.source.path for clip in clips] == [source.path for source in videos]
    assert [sum(c.n_steps for c in clip.chunks) for clip in clips] == [80, 1, 2, 4, 0, 3]
    assert not any(chunk.n_pending for clip in clips for chunk in clip.chunks)


@pytest.mark.parametrize("workers", [1, 3])
def test_order_and_batches_change_no_number(videos, workers: int) -> None:
    def features(encoder, in_order: bool):
        made: dict[str, list] = {}
        for source, item in run(videos, encoder, in_order, workers):
            if isinstance(item, EncodedChunk):
                made.setdefault(source.path, []).append(item.features)
        return {path: np.concatenate(parts) for path, parts in made.items()}

    one = features(MeanColour(1), in_order=True)
    for encoder in (MeanColour(7, late=True), MeanColour(3)):
        other = features(encoder, in_order=False)
        assert other.keys() == one.keys()
        assert all(np.array_equal(one[path], other[path]) for path in one)


def waiting_chunk(frames: int) -> EncodedChunk:
    none = np.zeros(1, np.bool_)
    return EncodedChunk(
        0,
        np.zeros((1, 3), np.float16),
        np.zeros(1),
        np.zeros(4, np.int16),
        none,
        none,
        (),
        n_pending=frames,
    )


@pytest.mark.parametrize("in_order", [True, False])
def test_only_in_order_a_clip_waits_for_those_before_it(in_order: bool) -> None:
    lanes = _OrderedOutput(in_order)
    first, second = (lanes.enter(ClipSource(name, name)) for name in "ab")
    lanes.add(first, held := waiting_chunk(1))
    lanes.add(second, waiting_chunk(0))
    lanes.add(second, ClipOutcome(Status.OK, ""))
    gone = [source.id for source, _ in lanes.ready()]
    assert gone == ([] if in_order else ["b", "b"])
    assert lanes.first is held
    assert lanes.n_waiting == 3 - len(gone)


def test_only_frames_that_wait_in_the_batch_itself_hold_a_chunk_back() -> None:
    encoder = MeanColour(batch=2, late=True)
    batch, clip = (
        FeatureBatches(Encoders(encoder), lambda: None, SETTINGS.clip),
        ClipSource("x", "x"),
    )
    seen = np.ones(1, np.bool_)
    frames = np.zeros((1, 3, SIDE_PX, SIDE_PX), np.uint8)
    chunk = ClipChunk(0, frames, np.zeros(1), np.zeros(4, np.int16), seen, ~seen, ())
    first, second, third = (batch.add(clip, chunk) for _ in range(3))
    assert first.n_pending == second.n_pending == 1  # sent off, and not there yet
    assert not batch.holds_back(first)
    assert batch.holds_back(third)
    assert not batch.holds_back(None)


def test_out_of_order_every_clip_ends_once(videos) -> None:
    ends = [
        source.path
        for source, item in run(videos, MeanColour(1), in_order=False)
        if isinstance(item, ClipOutcome)
    ]
    assert sorted(ends) == sorted(source.path for source in videos)


def test_a_held_frame_is_encoded_once(tmp_path) -> None:
    slides = write_video(tmp_path / "slides.mp4", [0, 4000, 4100])
    encoder = MeanColour(1)
    items = run([ClipSource("x", str(slides))], encoder, in_order=True)
    chunk = items[0][1]
    assert isinstance(chunk, EncodedChunk)
    assert len(encoder.sizes) < chunk.n_steps
    assert np.array_equal(chunk.features[0], chunk.features[3])


def test_without_an_encoder_features_are_empty(videos) -> None:
    with DecodePool(1) as pool:
        items = list(encode_clips(videos[1:2], SETTINGS, pool, Encoders))
    assert isinstance(items[0][1], EncodedChunk)
    assert items[0][1].features.shape == (1, 0)


class Loudness:
    """A BatchEncoder of windows of sound: its one feature is the sum of the samples."""

    batch, n_features = 3, 1
    identity = MeanColour(1).identity

    def submit(self, inputs, done) -> None:
        done(np.array([[window.astype(float).sum()] for window in inputs], np.float16))

    def wait(self) -> None:
        pass


def test_mirrored_frames_and_windows_of_sound_come_with_the_chunk(tmp_path) -> None:
    """The left half of the picture is brighter; both ways are there, and sound in every step."""
    path = write_video(tmp_path / "v.mp4", [100 * k for k in range(200)], sound_ms=(0, 20_000))
    windows = SpectrogramWindows(length=32000, hop=16000, per_step=1)

    class LeftHalf(MeanColour):
        def submit(self, frames, done) -> None:
            done(np.stack([f[:, :, : SIDE_PX // 2].mean(axis=(1, 2)) for f in frames]))

    encoders = Encoders(LeftHalf(2), Loudness(), windows, mirror=True)
    with DecodePool(1) as pool:
        items = list(encode_clips([ClipSource("x", str(path))], SETTINGS, pool, lambda: encoders))
    (clip,) = whole_clips(items)
    for chunk in clip.chunks:
        assert chunk.mirrored is not None
        assert chunk.spectrogram_features is not None
        assert chunk.spectrogram_features.shape == (chunk.n_steps, 1)
        assert chunk.mirrored.shape == chunk.features.shape
        assert chunk.n_pending == 0
    assert any(not np.array_equal(c.mirrored, c.features) for c in clip.chunks)


def test_what_changed_in_the_picture_stands_beside_the_features_mirrored_too(tmp_path) -> None:
    path = write_video(tmp_path / "v.mp4", [100 * k for k in range(700)])
    asked = DecodeSettings(
        ClipSettings(frame_size_px=SIDE_PX, picture_change=True), LimitSettings()
    )
    with DecodePool(1) as pool:
        plain, with_change = (
            next(
                whole_clips(
                    list(
                        encode_clips(
                            [ClipSource("x", str(path))], settings, pool,
                            lambda: Encoders(MeanColour(1), mirror=True),
                        )
                    )
                )
            )
            for settings in (SETTINGS, asked)
        )  # fmt: skip
    changes = []
    for before, after in zip(plain.chunks, with_change.chunks, strict=True):
        assert after.mirrored is not None
        assert after.features.shape == (before.n_steps, 3 + N_FIELDS)
        assert np.array_equal(after.features[:, :3], before.features)
        assert np.array_equal(after.mirrored[:, :3], before.mirrored)
        fields, turned = (x[:, 3:].reshape(-1, 8, 8) for x in (after.features, after.mirrored))
        assert np.array_equal(fields[:, :, ::-1], turned)
        changes.append(fields.any(axis=(1, 2)))
    assert len(changes) == 2
    assert not changes[0][0]
    assert changes[0][1:].all()
    assert changes[1].all()  # the frame before lies in the chunk before
