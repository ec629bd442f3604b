"""classify.window_s: windows of files, in windows.csv."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.errors import UserError
from tests.conftest import Journey, framewave


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["classify.hop_s=1"], "classify.hop_s needs classify.window_s"),
        (["classify.window_s=2", "classify.hop_s=3"], "which would leave gaps"),
    ],
)
def test_windows_that_cannot_be_are_refused(settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, settings)


@pytest.mark.end_to_end
def test_a_table_of_windows_by_others_is_refused(journey: Journey, tmp_path: Path) -> None:
    (tmp_path / "windows.csv").write_text("window,open\n1,yes\n")
    command = "classify", journey.new, "--run", journey.run, "--out", tmp_path / "p.csv"
    refused = framewave(*command, "classify.window_s=2", check=False)
    assert refused.returncode == 2
    assert "windows.csv exists and was not written by framewave" in " ".join(refused.stderr.split())
    assert not (tmp_path / "p.csv").exists()
    framewave(*command)  # without windows, the file is no output
    assert (tmp_path / "windows.csv").read_text() == "window,open\n1,yes\n"


def classified(journey: Journey, out: Path, *settings: str) -> tuple[list[dict], dict[str, list]]:
    """Rows of predictions.csv, and the rows of windows.csv by file."""
    out.parent.mkdir(exist_ok=True)
    framewave("classify", journey.new, "--run", journey.run, "--out", out, *settings)
    windows = defaultdict(list)
    for row in csv.DictReader((out.parent / "windows.csv").open()):
        windows[row["path"]].append(row)
    return list(csv.DictReader(out.open())), windows


@pytest.mark.end_to_end
def test_one_window_over_a_whole_file_is_its_prediction(journey: Journey, tmp_path: Path) -> None:
    rows, windows = classified(journey, tmp_path / "a" / "p.csv", "classify.window_s=3600")
    usable = [row for row in rows if row["predicted"]]
    assert set(windows) == {row["path"] for row in usable}
    for row in usable:
        (window,) = windows[row["path"]]
        assert window["start_s"] == "0.000"
        assert float(window["end_s"]) == pytest.approx(
            float(row["duration_s"]), abs=0.5
        )  # half a step
        assert window["predicted"] == row["predicted"]
        same = [name for name in row if name.startswith("p_") or name == "probability"]
        assert [float(window[name]) for name in same] == pytest.approx(
            [float(row[name]) for name in same], abs=2e-6
        )


@pytest.mark.end_to_end
def test_windows_cover_each_file_and_resume(journey: Journey, tmp_path: Path) -> None:
    settings = "classify.window_s=2", "classify.hop_s=1"
    out = tmp_path / "p.csv"
    rows, windows = classified(journey, out, *settings)
    assert [{k: row[k] for k in row if k != "model"} for row in rows] == [
        {k: row[k] for k in row if k != "model"} for row in csv.DictReader(journey.table.open())
    ]
    for row in rows:
        of_file = [(float(w["start_s"]), float(w["end_s"])) for w in windows.get(row["path"], ())]
        if not row["predicted"]:
            assert not of_file
            continue
        assert of_file[0][0] == 0
        assert of_file[-1][1] == pytest.approx(float(row["duration_s"]), abs=0.5)  # half a step
        assert all(b == pytest.approx(a + 1) for (a, _), (b, _) in pairwise(of_file))
        assert all(end - start == pytest.approx(2) for start, end in of_file[:-1])
    before = (tmp_path / "windows.csv").read_bytes()
    again = framewave("classify", journey.new, "--run", journey.run, "--out", out, *settings)
    assert "taken from an earlier run" in again.stdout
    assert (tmp_path / "windows.csv").read_bytes() == before
