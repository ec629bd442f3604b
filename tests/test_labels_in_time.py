"""Labelled segments: from tables and WebVTT files to the label of each step."""

from __future__ import annotations

import math
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.annotations.listing import list_data_set
from data_prep.annotations.webvtt import is_own, webvtt_text
from data_prep.manifest import ManifestRow, normalise_label, read_manifest, write_manifest
from data_prep.segments import (
    UNKNOWN,
    LabelledSegment,
    check_label_time,
    read_segments,
    step_labels,
    write_segments,
)
from data_prep.settings import LabelSettings, TaskSettings
from data_prep.status import DataSetError, MediaError

TIMELINE = TaskSettings(name="timeline")
LABELS = ("cat", "dog", "none")
NONE = 2


def table(folder: Path, *lines: str, header: str = "path,start_s,end_s,label") -> Path:
    for name in ("a.mp4", "b.mp4"):
        (folder / name).touch()
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def read(path: Path, **settings: str) -> dict[str, ManifestRow]:
    listing = list_data_set(path, None, TIMELINE.model_copy(update=settings))
    return {Path(row.path).name: row for row in listing.rows}


def cat(start_s: float, end_s: float) -> LabelledSegment:
    return LabelledSegment(start_s, end_s, "cat")


def dog(start_s: float, end_s: float) -> LabelledSegment:
    return LabelledSegment(start_s, end_s, "dog")


def test_a_file_has_one_row_with_its_segments_in_order(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,0,2.5,cat", "b.mp4,1,2,dog", "a.mp4,00:04,00:06,dog")
    rows = read(path)
    assert rows["a.mp4"].segments == (cat(0, 2.5), dog(4, 6))
    assert (rows["a.mp4"].label, rows["b.mp4"].label) == ("cat;dog", "dog")
    assert (rows["a.mp4"].start_s, rows["a.mp4"].end_s) == (None, None)


def test_a_segment_without_an_end_lasts_until_the_next(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,00:00,cat", "a.mp4,00:05,dog", header="path,start_s,label")
    assert read(path)["a.mp4"].segments == (cat(0, 5), dog(5, math.inf))


def test_a_point_event_is_kept(tmp_path) -> None:
    assert read(table(tmp_path, "a.mp4,3,3,cat"))["a.mp4"].segments == (cat(3, 3),)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("first", (cat(0, 5), dog(5, 8))),
        ("last", (cat(0, 4), dog(4, 8))),
    ],
)
def test_overlaps_are_resolved_as_asked_for_and_counted(tmp_path, overlap, expected) -> None:
    path = table(tmp_path, "a.mp4,0,5,cat", "a.mp4,4,8,dog")
    assert read(path, overlap=overlap)["a.mp4"].segments == expected
    notes = list_data_set(path, None, TIMELINE.model_copy(update={"overlap": overlap})).notes
    assert any("1 overlap of segments" in note for note in notes)


def test_a_segment_inside_another_is_cut_out_or_dropped(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,0,9,cat", "a.mp4,4,5,dog")
    assert read(path, overlap="first")["a.mp4"].segments == (cat(0, 9),)
    assert read(path, overlap="last")["a.mp4"].segments == (cat(0, 4), dog(4, 5), cat(5, 9))


def test_segments_out_of_order_are_sorted_with_a_note(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,4,5,dog", "a.mp4,0,2,cat")
    assert read(path)["a.mp4"].segments == (cat(0, 2), dog(4, 5))
    (note,) = [n for n in list_data_set(path, None, TIMELINE).notes if "in order of time" in n]
    assert "labels.csv" in note
    assert "a.mp4, line 3" in note


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.mp4,0,5,cat", "a.mp4,4,8,dog"],
         r"labels\.csv: segments of .*a\.mp4 overlap \(line 2: 'cat' from 0 to 5 s; line 3: 'dog'"),
        (["a.mp4,5,3,cat"], r"labels\.csv, line 2: end_s \(3\) must be after start_s \(5\)"),
        (["a.mp4,0:00:01:05,3,cat"], r"line 2: start_s '0:00:01:05' ends in a frame number"),
        (["a.mp4,-1,3,cat"], r"line 2: start_s '-1' is not a time"),
        (["a.mp4,1.5s x,3,cat"], r"line 2: start_s '1\.5s x' is not a time"),
        (["a.mp4,,,cat", "b.mp4,nan,nan,dog"],
         r"no times of the labels.*start_s and end_s, in seconds. Its columns are: path, start_s"),
        ([], "has a header but no rows"),
        (["a.mp4,0,1,cat", "a.mp4,nan,3,cat"], r"labels.csv, line 3: the segment of .* no start"),
        (["a.mp4,0,1,cat,g1", "a.mp4,2,3,cat,g2"], r"has the group 'g1' \(line 2\) and 'g2'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, lines, message: str) -> None:
    header = "path,start_s,end_s,label" + (",group" if lines and lines[0].count(",") == 4 else "")
    with pytest.raises(DataSetError, match=message):
        list_data_set(table(tmp_path, *lines, header=header), None, TIMELINE)


def test_a_label_as_programs_write_an_unknown_value_is_noted(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,0,1,nan", "a.mp4,1,2,cat", "b.mp4,0,1,none")
    (note,) = list_data_set(path, None, TIMELINE).notes
    assert "labels.csv, line 2: the label 'nan' is read as the name of a class" in note


def test_a_label_after_the_end_of_its_file_asks_for_its_unit() -> None:
    check_label_time(cat(5, 6), 6.0)
    with pytest.raises(MediaError, match=r"begins at 61 s, the file ends at 60 s$"):
        check_label_time(cat(61, 62), 60.0)
    with pytest.raises(MediaError, match="not milliseconds or frame numbers"):
        check_label_time(cat(12_000, 13_000), 60.0)
    check_label_time(cat(5, math.inf), 6.0)
    check_label_time(cat(5, 12), 6.0)  # scan notes it
    with pytest.raises(MediaError, match=r"'cat' ends at 4200 s, the file ends at 60 s; are"):
        check_label_time(cat(0, 4200), 60.0)
    read = replace(cat(500, 513), where="labels.csv, line 3")
    with pytest.raises(MediaError, match=r"\(labels.csv, line 3\).*are the times seconds"):
        check_label_time(read, 60.0)


def vtt(path: Path, *cues: str) -> None:
    path.write_text("WEBVTT\n\nNOTE by hand\n\n" + "\n\n".join(cues) + "\n")


def test_webvtt_files_lie_beside_their_videos(tmp_path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).touch()
    vtt(tmp_path / "a.vtt", "00:01.250 --> 00:02.750 align:start\n<v Eva>cat",
        "2\n01:00:00.000 --> 01:00:05.000\nsalt &amp; pepper")  # fmt: skip
    vtt(tmp_path / "b.vtt")
    rows = read(tmp_path)
    assert rows["a.mp4"].segments == (
        cat(1.25, 2.75), LabelledSegment(3600, 3605, "salt & pepper"),
    )  # fmt: skip
    assert (rows["b.mp4"].label, rows["b.mp4"].segments) == ("background", ())
    assert rows["c.mp4"].label == ""
    vtt(tmp_path / "a.vtt", "00:01.000 --> 00:05.000\ncat", "00:04.000 --> 00:06.000\ndog")
    with pytest.raises(DataSetError, match=r"a\.vtt: segments of .* overlap \(line 5: 'cat'"):
        read(tmp_path)
    (tmp_path / "a.vtt").write_text("no captions")
    with pytest.raises(DataSetError, match=r"a\.vtt, line 1: a WebVTT file begins"):
        read(tmp_path)


GOOD_CUE = "00:01.000 --> 00:02.000\ncat"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "WEBVTT\n\n00:00:00,000 --> 00:00:05,000\ncat\n",
            "line 3: '00:00:00,000 --> 00:00:05,000'",
        ),
        (f"WEBVTT\n\n{GOOD_CUE}\n\n7\n00:03.000 -> 00:05.000\ncat", "line 7: '00:03.000 -> 00:05"),
        (f"WEBVTT\n\n{GOOD_CUE}\n00:03.000 --> 00:05.000\ncat", "line 5: an empty line is missing"),
        (f"WEBVTT\n{GOOD_CUE}\n", "line 2: an empty line is missing"),
        (f"WEBVTT\n\n{GOOD_CUE}\n\ndog\n", "line 6: 'dog' is not a line of times"),
        ("WEBVTT\r\n\r\n00:03.000 --> 00:02.000\r\ncat", "line 3: 00:02.000 must not be before"),
        ("WEBVTT\n\n00:70.000 --> 02:02.000\ncat", "line 3: '00:70.000' is not a time"),
    ],
)
def test_what_players_skip_in_webvtt_files_is_refused(tmp_path, text: str, says: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.vtt").write_text(text)
    with pytest.raises(DataSetError, match=rf"a\.vtt, {re.escape(says)}"):
        read(tmp_path)


def test_arrows_and_comments_are_no_times(tmp_path) -> None:
    (tmp_path / "a.mp4").touch()
    cue = "00:01.000 --> 00:02.000 line:0\nwalk -> run"
    (tmp_path / "a.vtt").write_text(
        f"WEBVTT - made by hand\n\nSTYLE\n::cue {{}}\n\n{cue}\n\nNOTE x"
    )
    assert read(tmp_path)["a.mp4"].segments == (LabelledSegment(1, 2, "walk -> run"),)


def test_webvtt_files_of_the_whole_name_and_of_no_video(tmp_path) -> None:
    for name in ("a.mp4", "a.m4a"):
        (tmp_path / name).touch()
        vtt(tmp_path / f"{name}.vtt", f"00:01.000 --> 00:02.000\n{name[-1]}")
    vtt(tmp_path / "b.vtt", GOOD_CUE)
    listing = list_data_set(tmp_path, None, TIMELINE)
    assert {Path(r.path).name: r.label for r in listing.rows} == {"a.mp4": "4", "a.m4a": "a"}
    assert any("1 WebVTT file without a file of the same name" in note for note in listing.notes)


WRITTEN_LABELS = (
    st.sampled_from(["a & b", "&lt;i&gt;", "<b>x</b>", "to --> from", "NOTE x", "WEBVTT", "عربى"])
    | st.text(min_size=1)
).map(normalise_label).filter(bool)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4_000_000), WRITTEN_LABELS)))
def test_webvtt_that_is_written_is_read_as_the_same_segments(cues) -> None:
    """cues: milliseconds of the gap before each, its length in ms, and its label."""
    segments, at_ms = [], 0
    for gap_ms, length_ms, label in cues:
        start_ms, at_ms = at_ms + gap_ms, at_ms + gap_ms + length_ms
        segments.append(LabelledSegment(start_ms / 1000, at_ms / 1000, label))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.mp4").touch()
        (folder / "a.vtt").write_text(webvtt_text(reversed(segments)), "utf-8")
        assert is_own(folder / "a.vtt")
        (row,) = read(folder).values()
    assert row.segments == tuple(segments)
    assert segments or row.label == TIMELINE.background


def test_a_label_of_several_lines_is_one_line_of_a_cue() -> None:
    text = webvtt_text([LabelledSegment(359_999.9996, 360_001, "a\n\n00:01.000 --> 00:02.000\r\nb"),
                        cat(1, 1.0004)])  # fmt: skip
    assert text.splitlines() == [
        "WEBVTT", "", "NOTE framewave", "",
        "100:00:00.000 --> 100:00:01.000", "a 00:01.000 --&gt; 00:02.000 b",
    ]  # fmt: skip


def test_a_webvtt_file_of_others_is_not_ours(tmp_path) -> None:
    vtt(tmp_path / "a.vtt", "00:01.000 --> 00:02.000\ncat")
    assert not is_own(tmp_path / "a.vtt")


def test_a_folder_without_labels_in_time_says_what_is_needed(tmp_path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.mp4").touch()
    with pytest.raises(DataSetError, match="has no labels in time; DATA is a table"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([cat(0, 2), dog(2, 4)], [0, 0, 1, 1]),
        ([cat(0.6, 1.4)], [NONE, NONE, NONE, NONE]),  # 0.4 s of either step
        ([cat(0.5, 1.4)], [0, NONE, NONE, NONE]),  # half of a step is enough
        ([cat(0, 1.3), dog(1.3, 3)], [0, 1, 1, NONE]),
        ([cat(1, math.inf)], [NONE, 0, 0, 0]),
        ([cat(2, 2)], [NONE, NONE, 0, NONE]),
        ([cat(9, 12)], [NONE] * 4),
        ([], [NONE] * 4),
    ],
)
def test_a_step_takes_the_label_that_covers_most_of_it(segments, expected) -> None:
    assert step_labels(segments, LABELS, 4, 1.0, NONE).tolist() == expected


def test_points_lie_in_their_step_at_any_rate() -> None:
    found = step_labels([cat(0.3, 0.3)], LABELS, 5, 0.1, UNKNOWN)
    assert found.tolist() == [UNKNOWN] * 3 + [0, UNKNOWN]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), max_size=8),
    st.sampled_from([0.1, 0.25, 0.5, 1.0]),
)
def test_segments_of_whole_steps_give_back_their_steps(runs, step_s: float) -> None:
    truth = np.array(["ab".index(label) for label, n in runs for _ in range(n)], np.int64)
    segments, at = [], 0
    for label, n in runs:
        if n:
            segments.append(LabelledSegment(at * step_s, (at + n) * step_s, label))
        at += n
    assert np.array_equal(step_labels(segments, ("a", "b"), truth.size, step_s, UNKNOWN), truth)


def test_the_segments_are_stored_beside_the_manifest(tmp_path) -> None:
    segments = (cat(0, 2.5), LabelledSegment(2.5, math.inf, "=odd; name"))
    rows = [ManifestRow("/a.mp4", label="cat;=odd; name", segments=segments),
            ManifestRow("/b.mp4", label="background")]  # fmt: skip
    write_manifest(tmp_path / "manifest.csv", rows)
    assert [row.segments for row in read_manifest(tmp_path / "manifest.csv")] == [segments, ()]
    assert (tmp_path / "segments.csv").read_text().splitlines()[0] == "path,start_s,end_s,label"


def test_a_damaged_table_of_segments_is_said(tmp_path) -> None:
    write_segments(tmp_path / "s.csv", {"/a.mp4": [cat(0, 2)]})
    text = (tmp_path / "s.csv").read_text()
    (tmp_path / "s.csv").write_text(text.replace(",0,2,", ",3,2,"))
    with pytest.raises(DataSetError, match=r"s\.csv, line 2: start_s 3 and end_s 2"):
        read_segments(tmp_path / "s.csv")
    assert read_segments(tmp_path / "missing.csv") == {}


ANNOTATED = "path,start_s,end_s,label,annotator"


def test_segments_of_several_people_are_kept_apart(tmp_path) -> None:
    lines = [
        "a.mp4,0,3,cat,ben", "a.mp4,1,4,cat,anna", "a.mp4,5,6,dog,anna", "b.mp4,2,3,dog,anna",
    ]  # fmt: skip
    path = table(tmp_path, *lines, header=ANNOTATED)
    listing = list_data_set(path, None, TIMELINE)
    rows = {Path(row.path).name: row for row in listing.rows}
    assert rows["a.mp4"].segments == (cat(1, 4), dog(5, 6))  # anna labelled more files
    assert rows["a.mp4"].other_segments == (replace(cat(0, 3), annotator="ben"),)
    assert (rows["b.mp4"].segments, rows["b.mp4"].other_segments) == ((dog(2, 3),), ())
    assert "1 file was labelled by several people" in " ".join(listing.notes)
    write_manifest(tmp_path / "manifest.csv", listing.rows)
    kept = {Path(row.path).name: row for row in read_manifest(tmp_path / "manifest.csv")}
    for name, row in rows.items():
        assert kept[name].segments == row.segments
        assert kept[name].other_segments == row.other_segments


def test_whose_segments_are_the_labels_can_be_said(tmp_path) -> None:
    lines = ["a.mp4,0,3,cat,ben", "a.mp4,1,4,cat,anna", "b.mp4,2,3,dog,anna"]
    path = table(tmp_path, *lines, header=ANNOTATED.replace("annotator", "observer"))

    def first(**settings: str) -> ManifestRow:
        asked = LabelSettings(annotator_column="observer", **settings)
        return list_data_set(path, asked, TIMELINE).rows[0]

    assert first(annotator="ben").segments == (cat(0, 3),)
    assert first(annotator="anna").segments == (cat(1, 4),)
    with pytest.raises(DataSetError, match="carl labelled nothing; those who did: anna, ben"):
        first(annotator="carl")
    with pytest.raises(DataSetError, match="has no column annotator"):
        list_data_set(path, LabelSettings(annotator="ben"), TIMELINE)
    with pytest.raises(DataSetError, match="are for labels in time"):
        list_data_set(path, LabelSettings(annotator="ben"))


def test_each_person_is_checked_for_overlaps(tmp_path) -> None:
    lines = ["a.mp4,0,3,cat,ben", "a.mp4,2,4,cat,anna", "a.mp4,3,5,dog,anna"]
    with pytest.raises(DataSetError, match=r"line 3: .*line 4: "):
        list_data_set(table(tmp_path, *lines, header=ANNOTATED), None, TIMELINE)


def test_a_line_without_a_label_is_nobodys_work(tmp_path) -> None:
    lines = ["a.mp4,,,,anna", "a.mp4,0,3,cat,ben", "b.mp4,1,2,dog,anna", "b.mp4,1,2,dog,dora"]
    rows = read(table(tmp_path, *lines, "a.mp4,,,,dora", header=ANNOTATED))
    assert rows["a.mp4"].segments == (cat(0, 3),)
    assert rows["b.mp4"].segments == (dog(1, 2),)
    asked = LabelSettings(annotator="carl")
    lines = ["a.mp4,0,3,cat,ben", "b.mp4,,,,carl"]
    with pytest.raises(DataSetError, match="carl labelled nothing; those who did: ben"):
        list_data_set(table(tmp_path, *lines, header=ANNOTATED), asked, TIMELINE)


def test_names_of_annotators_differ_in_more_than_case_and_are_complete(tmp_path) -> None:
    lines = ["a.mp4,0,1,cat,Anna", "a.mp4,2,3,dog,anna", "b.mp4,0,1,cat,ANNA"]
    rows = read(table(tmp_path, *lines, header=ANNOTATED))
    assert (rows["a.mp4"].segments, rows["a.mp4"].other_segments) == ((cat(0, 1), dog(2, 3)), ())
    lines[1] = "a.mp4,2,3,dog,"
    with pytest.raises(DataSetError, match="line 3: the annotator is empty"):
        read(table(tmp_path, *lines, header=ANNOTATED))


def test_a_column_that_looks_like_annotators_is_pointed_out_where_segments_overlap(
    tmp_path,
) -> None:
    lines = ["a.mp4,0,3,cat,ben", "a.mp4,2,4,cat,anna"]
    path = table(tmp_path, *lines, header=ANNOTATED.replace("annotator", "Coder"))
    with pytest.raises(DataSetError, match=r"several people .*: labels\.annotator_column=Coder"):
        list_data_set(path, None, TIMELINE)


def test_labels_in_time_that_differ_in_case_alone_are_pointed_out(tmp_path) -> None:
    path = table(tmp_path, "a.mp4,0,3,cat", "b.mp4,0,3,Cat")
    assert any("'Cat' and 'cat' differ only in case" in note
               for note in list_data_set(path, None, TIMELINE).notes)  # fmt: skip


def test_segments_of_an_earlier_scan_are_not_left_behind(tmp_path) -> None:
    row = ManifestRow(str(tmp_path / "a.mp4"), label="cat", segments=(cat(0, 1),))
    write_manifest(tmp_path / "manifest.csv", [row])
    write_manifest(tmp_path / "manifest.csv", [replace(row, segments=())])
    assert read_manifest(tmp_path / "manifest.csv")[0].segments == ()
