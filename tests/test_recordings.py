"""Equal bytes, and times of recording: believed only where they fit."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.manifest import ManifestRow
from data_prep.media.container_headers import mp4_recorded_s
from pipeline.leak_audit.findings import Kind
from pipeline.leak_audit.recordings import contents, recorded_s, same_bytes, same_recordings

_1904 = 2_082_844_800


def _file(folder: Path, name: str, content: bytes, group: str, label: str = "a") -> ManifestRow:
    path = folder / name
    path.write_bytes(content)
    return ManifestRow(
        path=str(path), id=name, label=label, group=group, size_bytes=len(content), duration_s=10.0
    )


def _mp4(recorded_s: int) -> bytes:
    mvhd = b"\0\0\0\0" + struct.pack(">II", recorded_s + _1904, 0) + b"\0" * 88
    box = struct.pack(">I", len(mvhd) + 8) + b"mvhd" + mvhd
    moov = struct.pack(">I", len(box) + 8) + b"moov" + box
    return struct.pack(">I", 16) + b"ftypisom" + b"\0" * 4 + moov


def test_equal_bytes_in_two_groups_or_labels_are_found(tmp_path: Path) -> None:
    rows = [
        _file(tmp_path, "a.mp4", b"one", "g1"),
        _file(tmp_path, "b.mp4", b"one", "g2"),
        _file(tmp_path, "c.mp4", b"two", "g3"),
        _file(tmp_path, "d.mp4", b"one", "g1"),
        _file(tmp_path, "e.mp4", b"one", "g1", "b"),
    ]
    pairs = {(f.first.id, f.second.id) for f in same_bytes(rows, contents(rows))}
    assert pairs == {
        ("a.mp4", "b.mp4"), ("a.mp4", "e.mp4"), ("b.mp4", "d.mp4"), ("b.mp4", "e.mp4"),
        ("d.mp4", "e.mp4"),
    }  # fmt: skip


def test_parts_of_one_file_in_two_groups_are_found(tmp_path: Path) -> None:
    row = _file(tmp_path, "a.mp4", b"one", "g1")
    parts = [
        ManifestRow(
            path=row.path, id=str(k), label=label, group=group, start_s=start, end_s=start + 5.0
        )
        for k, (label, group, start) in enumerate(
            [("a", "g1", 0.0), ("b", "g1", 5.0), ("a", "g2", 10.0), ("b", "g1", 2.0)]
        )
    ]
    pairs = {(f.first.id, f.second.id) for f in same_bytes(parts, contents(parts))}
    # 0 and 1 are two moments of one group; 0 and 3 overlap with two labels; 2 is of another group,
    # which one pair tells
    assert pairs == {("0", "3"), ("1", "2")}


def _parts(row: ManifestRow, n: int, split: str) -> list[ManifestRow]:
    return [
        replace(row, id=f"{row.id}:{k}", start_s=float(k), end_s=k + 1.0, split=split)
        for k in range(n)
    ]


def test_many_parts_of_one_file_across_a_split_are_each_named_and_not_all_pairs(
    tmp_path: Path,
) -> None:
    row = replace(_file(tmp_path, "a.mp4", b"one", "g1"), duration_s=400.0)
    parts = _parts(row, 400, "")
    parts = [replace(part, split=("train", "test")[k % 2]) for k, part in enumerate(parts)]
    found = list(same_bytes(parts, contents(parts)))
    assert {row.id for f in found for row in (f.first, f.second)} == {part.id for part in parts}
    assert len(found) < 3 * 400


def test_parts_of_files_that_go_on_leak_alike_in_both_directions(tmp_path: Path) -> None:
    begin, after = 1_700_000_000, 1_700_000_010
    one, other = (_file(tmp_path, f"{t}.mp4", _mp4(t), f"{t}") for t in (begin, after))
    for splits in (("train", "test"), ("test", "train")):
        rows = [*_parts(one, 10, splits[0]), *_parts(other, 10, splits[1])]
        found = [f for f in same_recordings(rows) if f.leaks]
        judged = {row.id for f in found for row in (f.first, f.second) if row.split == "test"}
        assert len(judged) == 10


def test_files_that_overlap_in_time_do_not_go_on_in_each_other(tmp_path: Path) -> None:
    """Stamps of a converter, one a second, of files of ten seconds."""
    rows = [_file(tmp_path, f"{k}.mp4", _mp4(1_700_000_000 + k), f"g{k}") for k in range(40)]
    assert list(same_recordings(rows)) == []


def test_a_file_of_unknown_length_goes_on_in_none(tmp_path: Path) -> None:
    rows = [_file(tmp_path, f"{k}.mp4", _mp4(1_700_000_000 + 2 * k), f"g{k}") for k in range(2)]
    assert list(same_recordings([replace(row, duration_s=None) for row in rows])) == []
    short = [replace(row, duration_s=2.0) for row in rows]
    assert len(list(same_recordings(short))) == 1


@pytest.mark.parametrize("gap_s", [2, 3])
def test_a_file_goes_on_within_two_seconds(tmp_path: Path, gap_s: int) -> None:
    begins = (1_700_000_000, 1_700_000_010 + gap_s)
    rows = [_file(tmp_path, f"{t}.mp4", _mp4(t), f"{t}") for t in begins]
    assert len(list(same_recordings(rows))) == (gap_s <= 2)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("cam_20260326_173207.avi", "cam_2026-03-26 17.32.07.avi"),
        ("VID_20260326T173207Z.mkv", "20260326-173207.mkv"),
        ("20260326173207.mp4", "PXL_20260326_173207123.mp4"),
    ],
)
def test_a_name_tells_the_time(name: str, same: str) -> None:
    assert recorded_s(name) == recorded_s(same) == 1774546327.0


def test_digits_that_are_no_date_tell_nothing(tmp_path: Path) -> None:
    for name in ("20269926_173207.avi", "clip_123456.avi", "2026.avi", "202603261732071234567.avi"):
        assert recorded_s(str(tmp_path / name)) is None


def test_an_mp4_header_tells_the_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(_mp4(1_700_000_000))
    assert mp4_recorded_s(str(path)) == 1_700_000_000
    path.write_bytes(_mp4(-_1904))  # not set
    assert mp4_recorded_s(str(path)) is None
    path.write_bytes(b"\0\0\0\x10moov\0\0")
    assert mp4_recorded_s(str(path)) is None


def test_a_recording_that_goes_on_in_another_file_is_found(tmp_path: Path) -> None:
    times = [1_700_000_000, 1_700_000_010, 1_700_000_500, 1_700_000_500, 1_700_009_000]
    rows = [_file(tmp_path, f"{k}.mp4", _mp4(t), f"g{k}") for k, t in enumerate(times)]
    found = {(f.first.id, f.second.id, f.note) for f in same_recordings(rows)}
    assert found == {
        ("0.mp4", "1.mp4", "continues where the other ends"),
        ("2.mp4", "3.mp4", "recorded at the same time"),
    }
    assert all(f.kind is Kind.SAME_RECORDING for f in same_recordings(rows))


def test_a_stamp_that_most_files_share_says_nothing(tmp_path: Path) -> None:
    rows = [_file(tmp_path, f"{k}.mp4", _mp4(1_700_000_000), f"g{k}") for k in range(8)]
    assert list(same_recordings(rows)) == []


@pytest.mark.parametrize(("n_others", "believed"), [(20, False), (30, True)])
def test_a_stamp_of_a_fifth_of_the_files_may_be_a_recordings(
    tmp_path: Path, n_others: int, believed: bool
) -> None:
    times = [1_700_000_000] * 7 + [1_800_000_000 + 1000 * k for k in range(n_others)]
    rows = [_file(tmp_path, f"{k:02}.mp4", _mp4(t), f"g{k}") for k, t in enumerate(times)]
    assert bool(list(same_recordings(rows))) == believed


def test_two_short_files_of_one_stamp_are_told_once(tmp_path: Path) -> None:
    rows = [_file(tmp_path, f"{k}.mp4", _mp4(1_700_000_000), f"g{k}") for k in range(2)]
    found = list(same_recordings([replace(row, duration_s=1.0) for row in rows]))
    assert [f.note for f in found] == ["recorded at the same time"]


def test_pictures_of_another_size_are_another_recording(tmp_path: Path) -> None:
    one = _file(tmp_path, "1.mp4", _mp4(1_700_000_000), "g1")
    other = _file(tmp_path, "2.mp4", _mp4(1_700_000_000), "g2")
    wide = ManifestRow(**{**other.__dict__, "width_px": 640})
    assert len(list(same_recordings([one, other]))) == 1
    assert list(same_recordings([one, wide])) == []
    third = _file(tmp_path, "3.mp4", _mp4(1_700_000_000), "g3")
    found = [(f.first.id, f.second.id) for f in same_recordings([one, wide, third])]
    assert found == [("1.mp4", "3.mp4")]  # the other size does not stand between them


def test_pairs_stand_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    """A copy is one finding: kinds are weighed for pairs in one order."""
    rows = [
        _file(tmp_path, "z.mp4", _mp4(1_600_000_000), "g1"),
        _file(tmp_path, "a.mp4", _mp4(1_600_000_000), "g2"),
    ]
    for found in (same_bytes(rows, contents(rows)), same_recordings(rows)):
        assert [(f.first.id, f.second.id) for f in found] == [("z.mp4", "a.mp4")]


def test_every_clip_of_one_moment_across_a_split_is_named(tmp_path: Path) -> None:
    rows = [
        _file(tmp_path, f"{k:02}.mp4", _mp4(1_600_000_000 + k // 5), f"g{k}") for k in range(25)
    ]
    rows = [
        ManifestRow(
            **{**row.__dict__, "duration_s": 0.0, "split": "train" if k % 5 < 3 else "test"}
        )
        for k, row in enumerate(rows)
    ]
    across = [f for f in same_recordings(rows) if f.leaks and f.note == "recorded at the same time"]
    assert {row.id for f in across for row in (f.first, f.second)} == {row.id for row in rows}
