"""The audit through the real command line, on real encoded media with planted copies."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SETTINGS, framewave
from tests.helpers.films import FILM_RATE_HZ, FILM_S, film, write_film
from tests.helpers.sounds import noise_with_bands


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips in six groups of two labels, and five copies in groups of their own."""
    folder = tmp_path_factory.mktemp("planted")
    rows = [["path", "label", "group"]]
    for k in range(12):
        heard = noise_with_bands(k, FILM_S) if k >= 6 else None
        write_film(folder / f"clip{k}.mp4", film(k), heard)
        rows.append([f"clip{k}.mp4", "ab"[k % 2], f"g{k // 2}"])
    (folder / "copy.mp4").write_bytes((folder / "clip0.mp4").read_bytes())
    write_film(folder / "smaller.mp4", film(1), scale=2, crf=34)
    write_film(folder / "cut.mp4", film(2, first=14), crf=28)
    write_film(folder / "dubbed.mp4", film(99), noise_with_bands(7, FILM_S) * np.float32(0.6))
    write_film(folder / "music.mp4", film(8), noise_with_bands(98, FILM_S), crf=30)
    copies = {"copy": "a", "smaller": "b", "cut": "a", "dubbed": "a", "music": "a"}
    for name, label in copies.items():
        rows.append([f"{name}.mp4", label, f"new {name}"])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def _found(work: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (work / "audit" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(Path(row["first"]).name, Path(row["second"]).name): row for row in rows}


def _check(found: dict[tuple[str, str], dict[str, str]]) -> None:
    kinds = {pair: row["kind"] for pair, row in found.items()}
    assert kinds == {
        ("clip0.mp4", "copy.mp4"): "same_bytes",
        ("clip1.mp4", "smaller.mp4"): "same_picture",
        ("clip2.mp4", "cut.mp4"): "same_picture",
        ("clip7.mp4", "dubbed.mp4"): "same_sound",
        ("clip8.mp4", "music.mp4"): "same_picture",
    }
    assert found["clip8.mp4", "music.mp4"]["note"] == "under another sound"
    assert float(found["clip2.mp4", "cut.mp4"]["offset_s"]) == pytest.approx(
        14 / FILM_RATE_HZ, abs=0.25
    )
    assert "labels" in found["clip7.mp4", "dubbed.mp4"]["crosses"]


@pytest.mark.end_to_end
def test_planted_copies_are_found_in_files_that_are_not_prepared(
    planted: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    done = framewave("audit", planted / "labels.csv", "--work", work)
    _check(_found(work))
    assert "1 pair of clips from the same recording has different labels" in done.stdout
    assert "17 clips not prepared: decoding them now" in done.stdout + done.stderr
    assert "--accept" in done.stdout


@pytest.mark.end_to_end
def test_the_same_is_found_in_a_prepared_folder_and_groups_are_accepted(
    planted: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    framewave("prep", planted / "labels.csv", "--work", work, *SETTINGS)
    done = framewave("audit", planted / "labels.csv", "--work", work, "--accept")
    _check(_found(work))
    assert "not prepared" not in done.stdout + done.stderr
    with (work / "manifest.csv").open(newline="") as file:
        groups = {Path(row["path"]).name: row["group"] for row in csv.DictReader(file)}
    assert groups["copy.mp4"] == groups["clip0.mp4"] == "g0"
    assert groups["dubbed.mp4"] == groups["clip6.mp4"] == "g3"
    assert groups["clip11.mp4"] == "g5"
    summary = json.loads((work / "audit" / "audit.json").read_text())["summary"]
    assert summary["n_compared"] == 17
    assert summary["by_kind"]["same_picture"] == 3
    again = framewave("audit", planted / "labels.csv", "--work", work)
    assert "1 pair of clips from the same recording has different labels" in again.stdout
    assert "different groups" not in again.stdout  # accepted groups are kept
