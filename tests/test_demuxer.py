from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.media import demuxer
from data_prep.media.demuxer import Demuxer
from data_prep.media.pyav_media import open_media
from tests.helpers.decoding import decode
from tests.helpers.media import write_video

TIMES_MS = [40 * i for i in range(150)]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("demuxer") / "a.mp4"
    return str(write_video(path, TIMES_MS, sound_ms=(0, 6000)))


@pytest.fixture
def opened(monkeypatch):
    """Counts the containers that are opened, and those that are closed again."""
    counts = {"opened": 0, "closed": 0}

    @contextmanager
    def counting(*args):
        counts["opened"] += 1
        try:
            with open_media(*args) as container:
                yield container
        finally:  # a reader that is dropped half-way closes its file too
            counts["closed"] += 1

    monkeypatch.setattr(demuxer, "open_media", counting)
    return counts


def both(path: str) -> Demuxer:
    shared = Demuxer(path)
    shared.expect("video")
    shared.expect("audio")
    return shared


def described(packets) -> list[tuple]:
    return [(p.pts, p.dts, p.size, bytes(p), p.is_keyframe) for p in packets]


def alone(path: str, kind) -> list[tuple]:
    with Demuxer(path).track(kind, []) as (_, packets):
        return described(packets)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.lists(st.sampled_from([0, 1]), max_size=600),
    room=st.sampled_from([0, 5_000, 20_000, 10**9]),
)
def test_each_track_gets_its_packets_whoever_asks_first(film, monkeypatch, order, room) -> None:
    monkeypatch.setattr(demuxer, "MOST_WAITING_BYTES", room)
    shared = both(film)
    with shared.track("video", []) as (_, video), shared.track("audio", []) as (_, audio):
        got = ([], [])
        for which in order:
            packet = next((video, audio)[which], None)
            if packet is not None:
                got[which].append(packet)
        got[0].extend(video)
        got[1].extend(audio)
        assert described(got[0]) == alone(film, "video")
        assert described(got[1]) == alone(film, "audio")


def test_a_clip_is_read_through_one_container(film, opened) -> None:
    shared, _ = decode(film, strategy="plan")
    assert opened == {"opened": 1, "closed": 1}
    assert shared[0].video_mask.all()
    assert shared[0].audio_mask.all()


def test_tracks_far_apart_are_read_through_two(film, opened, monkeypatch) -> None:
    shared, report = decode(film, strategy="plan")
    monkeypatch.setattr(demuxer, "MOST_WAITING_BYTES", 5_000)
    apart, report_apart = decode(film, strategy="plan")
    assert opened == {"opened": 3, "closed": 3}
    assert report_apart == report
    assert np.array_equal(apart[0].frames, shared[0].frames)
    assert np.array_equal(apart[0].waveform, shared[0].waveform)


def test_the_file_is_closed_after_the_last_reader(film, opened) -> None:
    shared = both(film)
    with shared.track("video", []) as (_, video):
        next(video)
    assert opened == {"opened": 1, "closed": 0}  # the sound is still to come
    with shared.track("audio", []) as (_, audio):
        first = next(audio)
    assert opened == {"opened": 1, "closed": 1}
    assert first.size


def test_a_track_that_is_read_again_gets_its_own_container(film, opened) -> None:
    shared = both(film)
    with shared.track("audio", []) as (_, audio):
        once = described(audio)
    with shared.track("audio", []) as (_, audio):
        assert described(audio) == once
    assert opened["opened"] == 2


def test_a_track_that_is_not_there(tmp_path) -> None:
    path = str(write_video(tmp_path / "silent.mp4", TIMES_MS[:20]))
    shared = both(path)
    with shared.track("audio", []) as (stream, packets):
        assert stream is None
        assert list(packets) == []
    with shared.track("video", []) as (_, video):
        assert described(video) == alone(path, "video")


def test_an_error_is_known_after_the_packets_before_it(film, monkeypatch) -> None:
    def failing(container, streams, problems):
        yield from (packet for _, packet in zip(range(40), container.demux(streams), strict=False))
        problems.append("as it happens")

    monkeypatch.setattr(demuxer, "packets", failing)
    shared, of_video, of_audio = both(film), [], []
    with (
        shared.track("video", of_video) as (_, video),
        shared.track("audio", of_audio) as (_, audio),
    ):
        list(audio)
        assert of_audio == ["as it happens"]
        assert next(video) is not None
        assert of_video == []
        list(video)
        assert of_video == ["as it happens"]
