"""Which strategy is chosen, on files that call for each."""

from __future__ import annotations

from fractions import Fraction

import pytest

from data_prep.status import Status
from tests.helpers.decoding import CFR, decode
from tests.helpers.media import remux, write_video

LONG_MS = [40 * i for i in range(500)]  # 20 s at 25 pictures a second


@pytest.mark.parametrize(
    ("gop", "tolerance_s", "rate_hz", "strategy"),
    [
        (25, None, 1.0, "key frames"),
        (50, None, 1.0, "parts"),
        (500, None, 1.0, "read through"),
        (500, 30.0, 1.0, "key frames"),
        (100, 0.0, 0.25, "parts"),
        (25, None, 25.0, "read through"),
    ],
)
def test_the_cheapest_way_is_taken(tmp_path, gop, tolerance_s, rate_hz, strategy) -> None:
    options = {"bf": "0", "g": str(gop), "sc_threshold": "0"}
    path = write_video(tmp_path / "a.mp4", LONG_MS, options=options)
    clip = {"frame_tolerance_s": tolerance_s, "frame_rate_hz": rate_hz}
    assert decode(path, clip=clip)[1].decode_strategy == strategy


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_plans_hold_in_every_container(tmp_path, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", CFR, sound_ms=(100, 4700))
    assert decode(path, clip={"frame_tolerance_s": None})[1].decode_strategy == "key frames"


def test_damage_that_is_known_of_means_every_frame(tmp_path) -> None:
    path = write_video(tmp_path / "a.ts", CFR)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(bytes(data))
    report = decode(path, clip={"frame_tolerance_s": None})[1]
    assert (report.status, report.decode_strategy) == (Status.PARTIAL, "every frame")


def test_hidden_beginnings_are_planned_around(tmp_path) -> None:
    whole = write_video(tmp_path / "whole.mp4", CFR, options={"bf": "3", "g": "50"})
    cut = remux(whole, tmp_path / "cut.mp4", earlier_ms=700)
    chunks, report = decode(cut, clip={"frame_tolerance_s": None})
    assert report.decode_strategy in ("key frames", "parts", "read through")
    assert (chunks[0].frame_times_s >= 0).all()


def test_pixel_shape_and_turn_are_kept_by_every_way(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, rotation=90, pixel_aspect=Fraction(2))
    clip = {"frame_fit": "letterbox"}
    planned, every = (
        decode(path, clip=clip, strategy=strategy)[0][0].frames for strategy in ("plan", "every")
    )
    assert (planned == every).all()
