import os
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.clips.file_survey import survey_file
from data_prep.dataset import scan as scanning
from data_prep.manifest import read_manifest, write_manifest
from data_prep.settings import LabelSettings, LimitSettings, SplitSettings, TaskSettings
from data_prep.status import DataSetError, MediaError, Status
from data_prep.worker.protocol import Failure
from tests.helpers.media import write_video
from tests.helpers.odd_sound import RATE_HZ, wav

TIMES = [100 * i for i in range(20)]


def probe_here(paths):
    for path in paths:
        try:
            yield survey_file(path, LimitSettings())
        except MediaError as error:
            yield Failure(error.status, str(error))


def scan(data, work, settings, probe_all=probe_here, **limits):
    return scanning.scan(data, work, settings, LimitSettings(**limits), probe_all)


def data_set(root, count: int = 4):
    for label in ("a", "b"):
        for i in range(count):
            path = root / label / f"clip{i}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, TIMES, sound_ms=(0, 2000) if i else None)
    return root


def test_every_file_gets_a_row_with_what_was_found(tmp_path) -> None:
    data = data_set(tmp_path / "d")
    (data / "a" / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (data / "a" / "notes.txt").write_text("hello")
    rows = {Path(r.path).name: r for r in scan(data, tmp_path / "w", SplitSettings()).rows}
    assert rows["broken.mp4"].status is Status.UNREADABLE
    assert rows["notes.txt"].status is Status.NOT_MEDIA
    assert rows["broken.mp4"].error
    row = rows["clip0.mp4"]
    assert (row.width_px, row.height_px, row.has_video, row.has_audio) == (160, 96, True, False)
    assert rows["clip1.mp4"].has_audio


def test_edits_survive_a_new_scan_and_new_files_are_added(tmp_path) -> None:
    data, work = data_set(tmp_path / "d"), tmp_path / "w"
    scan(data, work, SplitSettings())
    rows = read_manifest(work / "manifest.csv")
    edited = replace(rows[0], label="b", group="mine", split="val")
    write_manifest(work / "manifest.csv", [edited, *rows[1:]])
    write_video(data / "b" / "new.mp4", TIMES)
    result = scan(data, work, SplitSettings())
    again = {row.path: row for row in result.rows}
    kept = again[edited.path]
    assert (kept.label, kept.group, kept.split) == ("b", "mine", "val")
    assert len(again) == len(rows) + 1
    assert any("of their own; it is kept" in note for note in result.notes)
    before = {row.path: row.split for row in rows if row.path != edited.path}
    assert all(again[path].split == split for path, split in before.items())


def test_other_split_settings_draw_anew_but_keep_edits(tmp_path) -> None:
    data, work = data_set(tmp_path / "d", 6), tmp_path / "w"
    first = {r.path: r.split for r in scan(data, work, SplitSettings()).rows}
    rows = read_manifest(work / "manifest.csv")
    mine = replace(rows[0], split="val" if rows[0].split != "val" else "test")
    write_manifest(work / "manifest.csv", [mine, *rows[1:]])
    second = {r.path: r.split for r in scan(data, work, SplitSettings(seed=5)).rows}
    assert second[mine.path] == mine.split
    assert any(second[path] != split for path, split in first.items() if path != mine.path)


def test_unchanged_files_are_not_opened_again(tmp_path) -> None:
    data, work = data_set(tmp_path / "d"), tmp_path / "w"
    scan(data, work, SplitSettings())
    os.utime(data / "a" / "clip0.mp4", (1, 1))
    opened: list[str] = []

    def probe_all(paths):
        opened.extend(paths)
        return probe_here(paths)

    scan(data, work, SplitSettings(), probe_all)
    assert opened == [str(data / "a" / "clip0.mp4")]


def test_the_data_folder_is_not_touched(tmp_path) -> None:
    data = data_set(tmp_path / "d")
    before = sorted((p, p.stat().st_mtime) for p in data.rglob("*"))
    scan(data, tmp_path / "w", SplitSettings())
    assert sorted((p, p.stat().st_mtime) for p in data.rglob("*")) == before


def test_one_edited_group_leaves_the_inferred_ones(tmp_path) -> None:
    for label in "ab":
        for cam in range(3):
            for i in range(2):
                path = tmp_path / "d" / label / f"cam{cam}" / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, TIMES)
    data, work = tmp_path / "d", tmp_path / "w"
    assert len({row.group for row in scan(data, work, SplitSettings()).rows}) == 3
    rows = read_manifest(work / "manifest.csv")
    write_manifest(work / "manifest.csv", [replace(rows[0], group="mine"), *rows[1:]])
    again = scan(data, work, SplitSettings())
    assert {row.group for row in again.rows} == {"cam0", "cam1", "cam2", "mine"}


def test_a_cleared_label_stays_cleared(tmp_path) -> None:
    data, work = data_set(tmp_path / "d"), tmp_path / "w"
    scan(data, work, SplitSettings())
    rows = read_manifest(work / "manifest.csv")
    write_manifest(work / "manifest.csv", [replace(rows[0], label="", split=""), *rows[1:]])
    again = {row.path: row for row in scan(data, work, SplitSettings()).rows}
    assert (again[rows[0].path].label, again[rows[0].path].split) == ("", "")


def test_another_data_set_does_not_overwrite_the_manifest(tmp_path) -> None:
    scan(data_set(tmp_path / "one"), tmp_path / "w", SplitSettings())
    with pytest.raises(DataSetError, match="lists none of the files"):
        scan(data_set(tmp_path / "two"), tmp_path / "w", SplitSettings())


def test_a_remembered_label_setting_can_be_taken_back(tmp_path) -> None:
    write_video(tmp_path / "a.mp4", [40 * k for k in range(100)])
    (tmp_path / "t.csv").write_text("path,kind,other\na.mp4,x,y\n")

    def label(**asked) -> str:
        return scanning.scan(
            tmp_path / "t.csv", tmp_path / "w", SplitSettings(), LimitSettings(), probe_here,
            LabelSettings(**asked),
        ).rows[0].label  # fmt: skip

    assert label(column="kind") == "x"
    assert label(encoding="utf-8") == "x"  # the column is remembered
    with pytest.raises(DataSetError, match="has no column 'label'"):
        label(column=None)


def test_what_a_folder_was_split_and_read_by_is_remembered(tmp_path) -> None:
    data, work = data_set(tmp_path / "data"), tmp_path / "w"
    first = scan(data, work, SplitSettings(test_fraction=0.4, seed=3))
    again = scan(data, work, SplitSettings())
    assert again.split == first.split
    assert {r.path: r.split for r in again.rows} == {r.path: r.split for r in first.rows}
    other = scan(data, work, SplitSettings(seed=4))
    assert (other.split.test_fraction, other.split.seed) == (0.4, 4)
    assert any("split.seed was 3 and is 4: clips are split again" in note for note in other.notes)


def test_a_part_does_not_give_its_status_to_the_others_of_its_file(tmp_path) -> None:
    write_video(tmp_path / "a.mp4", [40 * k for k in range(100)])
    write_video(tmp_path / "b.mp4", [40 * k for k in range(100)])
    lines = ["a.mp4,x,0,1", "a.mp4,y,1,2", "a.mp4,y,100,101", "a.mp4,x,3,30", "b.mp4,x,2,2.001"]
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\n" + "\n".join(lines))
    for _ in range(2):  # the second time from the manifest
        result = scan(tmp_path / "t.csv", tmp_path / "w", SplitSettings())
        found = [(row.start_s, str(row.status), row.split != "") for row in result.rows]
        assert [f[:2] for f in found] == [
            (0.0, "ok"), (1.0, "ok"), (100.0, "unreadable"), (3.0, "partial"),
            (2.0, "no_usable_stream"),
        ]  # fmt: skip
        assert [f[2] for f in found] == [True, True, False, True, False]
        assert any("1 of 5 parts cannot be used: the start is after" in n for n in result.notes)


def test_labels_in_time_that_end_after_their_file_are_pointed_out_or_refused(tmp_path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, [40 * k for k in range(100)])
    lines = ["a.mp4,x,0,4.5", "b.mp4,x,0,1", "b.mp4,y,2,6"]
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\n" + "\n".join(lines))

    def scanned(work: str, split: SplitSettings | None = None):
        return scanning.scan(
            tmp_path / "t.csv", tmp_path / work, split or SplitSettings(), LimitSettings(),
            probe_here, in_time=TaskSettings(name="timeline"),
        )  # fmt: skip

    result = scanned("w")
    assert {str(row.status) for row in result.rows} == {"ok"}
    (note,) = (note for note in result.notes if "after the end of the file" in note)
    assert note.startswith("1 label ends")
    assert "b.mp4, which ends at 4 s: 'y' ends at 6 s" in note
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\na.mp4,x,0,4500\nb.mp4,x,0,1\n")
    result = scanned("v")
    refused = result.rows[0]
    assert str(refused.status) == "unreadable"
    assert "(t.csv, line 2) ends at 4500 s, the file ends at 4 s" in refused.error
    notes = " ".join(result.notes)
    assert "1 file cannot be used because of a label (for example" in notes
    assert refused.error in notes
    assert "the labels of all other files are wrong too" in notes
    assert "cut off" not in notes
    with pytest.raises(DataSetError, match=r"split\.by=time divides the labelled parts"):
        scanned("u", SplitSettings(by="time"))


def test_parts_of_two_labels_that_overlap_are_pointed_out(tmp_path) -> None:
    write_video(tmp_path / "a.mp4", [40 * k for k in range(100)])
    lines = ["a.mp4,x,0,3", "a.mp4,x,0.5,1", "a.mp4,y,2,2.5", "a.mp4,y,3,4"]
    (tmp_path / "t.csv").write_text("path,label,start_s,end_s\n" + "\n".join(lines))
    notes = scan(tmp_path / "t.csv", tmp_path / "w", SplitSettings()).notes
    assert any("1 part overlaps a part of another label" in note for note in notes)


def test_clips_that_come_later_go_where_their_fold_goes(tmp_path) -> None:
    names = [f"{k}.mp4" for k in range(9)]
    for name in names:
        write_video(tmp_path / name, [100 * k for k in range(10)])
    lines = [f"{name},{'xy'[k % 2]},{k % 3}" for k, name in enumerate(names)]
    table = tmp_path / "t.csv"
    table.write_text("path,label,fold\n" + "\n".join(lines[:7]))
    scan(table, tmp_path / "w", SplitSettings())
    table.write_text("path,label,fold\n" + "\n".join(lines))
    rows = {row.path: row for row in scan(table, tmp_path / "w", SplitSettings()).rows}
    assert rows[str(tmp_path / "8.mp4")].split == "test"
    assert rows[str(tmp_path / "7.mp4")].split == "val"


def test_what_lies_near_to_judged_parts_is_left_out_again(tmp_path) -> None:
    """README's way: scan, then prep, which scans. Every block is as large as the gap here."""
    wav(tmp_path / "long.wav", bytes(2 * RATE_HZ * 200))
    lines = [f"long.wav,{'ab'[k % 2]},{7 * k},{7 * k + 5}" for k in range(28)]
    table = tmp_path / "parts.csv"
    table.write_text("\n".join(["path,label,start_s,end_s", *lines]))
    settings = SplitSettings(by="time", gap_s=30)
    first = scan(table, tmp_path / "w", settings)
    splits = [row.split for row in first.rows]
    assert "" in splits
    for _ in range(2):
        assert [row.split for row in scan(table, tmp_path / "w", settings).rows] == splits
    other = scan(table, tmp_path / "w", SplitSettings(by="time", gap_s=1))
    assert [row.split for row in other.rows].count("") < splits.count("")


def test_a_gap_that_leaves_nothing_is_named_by_scan(tmp_path) -> None:
    wav(tmp_path / "long.wav", bytes(2 * RATE_HZ * 200))
    lines = [f"long.wav,{'ab'[k % 2]},{7 * k},{7 * k + 5}" for k in range(28)]
    table = tmp_path / "parts.csv"
    table.write_text("\n".join(["path,label,start_s,end_s", *lines]))
    notes = scan(table, tmp_path / "w", SplitSettings(by="time", gap_s=1000)).notes
    assert "none is left for train" in " ".join(notes)
    assert "reduce the gap" in " ".join(notes)


def listed(folder: Path, labels: str, times: str = "") -> Path:
    """A table of clip0.mp4, clip1.mp4 … with a label (a letter) each."""
    table = folder / "set.csv"
    rows = "".join(f"clip{k}.mp4,{label}{times}\n" for k, label in enumerate(labels))
    table.write_text("path,label" + (",start_s,end_s" if times else "") + "\n" + rows)
    return table


def test_a_label_corrected_in_the_data_is_taken_and_an_edit_of_the_manifest_is_kept(
    tmp_path,
) -> None:
    for k in range(4):
        write_video(tmp_path / f"clip{k}.mp4", TIMES)
    scan(listed(tmp_path, "abab"), tmp_path / "w", SplitSettings())
    rows = read_manifest(tmp_path / "w" / "manifest.csv")
    edited = [replace(row, label="b") if row.path.endswith("0.mp4") else row for row in rows]
    write_manifest(tmp_path / "w" / "manifest.csv", edited)
    result = scan(listed(tmp_path, "abba"), tmp_path / "w", SplitSettings())
    assert [row.label for row in result.rows] == ["b", "b", "b", "a"]
    assert any(note.startswith("2 rows have another label") for note in result.notes)
    assert any("1 row of manifest.csv has a label" in note for note in result.notes)


def test_the_same_files_with_other_times_are_told_from_other_files(tmp_path) -> None:
    for k in range(2):
        write_video(tmp_path / f"clip{k}.mp4", TIMES)
    scan(listed(tmp_path, "ab"), tmp_path / "w", SplitSettings())
    with pytest.raises(DataSetError, match=r"lists the files of .* with other times"):
        scan(listed(tmp_path, "ab", ",0,1"), tmp_path / "w", SplitSettings())
