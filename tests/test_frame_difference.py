import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.video.frame_difference import N_FIELDS, FrameDifference, mirrored_difference
from tests.conftest import SETTINGS, framewave

FIELDS = (8, 8)


def measured(*frames: np.ndarray) -> list[np.ndarray]:
    meter = FrameDifference()
    return [meter.measure(frame).reshape(FIELDS) for frame in frames]


def edges(size: int, place: int) -> slice:
    """Fields are symmetric: the last four are the first four seen from the other end."""
    if place < 4:
        return slice(place * size // 8, (place + 1) * size // 8)
    return slice(size - (8 - place) * size // 8, size - (7 - place) * size // 8)


def test_a_field_that_changes_is_told_apart_from_those_that_do_not() -> None:
    before = np.full((3, 80, 160), 100, np.uint8)
    after = before.copy()
    after[:, 20:30, 40:50] = 151  # half of the field in row 2, column 2
    first, second, third = measured(before, after, after)
    assert not first.any()
    assert second[2, 2] == pytest.approx(51 / 255 / 2, rel=1e-3)
    assert np.count_nonzero(second) == 1
    assert not third.any()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), height=st.integers(8, 35), width=st.integers(8, 35))
def test_fields_weigh_as_many_pixels_as_they_have_whatever_the_size(seed, height, width) -> None:
    """By the definition, pixel by pixel."""
    height, width = 2 * height, 2 * width
    frames = np.random.default_rng(seed).integers(0, 256, (2, 3, height, width)).astype(np.uint8)
    found = measured(*frames)[1]
    grey = frames.astype(float).mean(axis=1).astype(np.uint8).astype(float)
    moved = abs(grey[1] - grey[0]) / 255
    for row in range(8):
        for column in range(8):
            part = moved[edges(height, row), edges(width, column)]
            assert found[row, column] == pytest.approx(part.mean(), abs=4e-3)


@given(seed=st.integers(0, 99), side_px=st.sampled_from([32, 224, 260, 298]))
def test_in_a_mirror_is_the_change_of_mirrored_frames(seed: int, side_px: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (2, 3, side_px, side_px)).astype(np.uint8)
    turned = measured(*frames[:, :, :, ::-1])[1]
    change = measured(*frames)[1].ravel()
    assert change.shape == (N_FIELDS,)
    assert np.array_equal(mirrored_difference(change), turned.ravel())


def chances(table: Path) -> dict[str, list[float]]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        row["path"]: [float(row[key]) for key in row if key.startswith("p_")]
        for row in rows
        if row["predicted"]
    }


@pytest.mark.end_to_end
def test_prepared_clips_and_classified_files_are_judged_alike(clips, tmp_path) -> None:
    """Whole clips in eval, chunk by chunk in classify; a model of sound alone ignores it."""
    work, settings = tmp_path / "work", [*SETTINGS, "clip.picture_change=true"]
    framewave("prep", clips.data, "--work", work, *settings)
    for modalities in ("both", "sound"):
        run = tmp_path / modalities
        framewave("train", "--work", work, "--run", run, *SETTINGS, "train.max_epochs=2",
                  f"model.modalities={modalities}")  # fmt: skip
        framewave("eval", "--run", run, "--no-audit")
        evaluated = chances(run / "eval" / "predictions.csv")
        framewave("classify", *evaluated, "--run", run, "--out", tmp_path / f"{modalities}.csv")
        classified = chances(tmp_path / f"{modalities}.csv")
        assert classified.keys() == evaluated.keys()
        for path, expected in evaluated.items():
            assert classified[path] == pytest.approx(expected, abs=1e-4)
    tuned = framewave("train", "--work", work, "--run", tmp_path / "tuned", *SETTINGS,
                      "model.trainable_blocks=1", check=False)  # fmt: skip
    assert tuned.returncode == 2
    assert "clip.picture_change=true, which is not for training with" in tuned.stderr
