"""The Python API: order of work, what is said of other backends, and that nothing loads early."""

import json
import subprocess
import sys

import pytest

from data_prep.dataset.manifest import ManifestRow
from pipeline.classifying.classify import Classifier, longest_first
from pipeline.config import load_config


def rows(*sizes: int) -> list[ManifestRow]:
    return [ManifestRow(path=str(i), id=str(i), size_bytes=size) for i, size in enumerate(sizes)]


def test_no_large_file_is_left_for_last_but_small_ones_come_first() -> None:
    ordered = [row.size_bytes for row in longest_first(rows(5, 900, 20, 3, 400, 7), workers=2)]
    assert ordered == [5, 3, 900, 400, 20, 7]


@pytest.mark.parametrize("sizes", [(), (4,), (4, 9)])
def test_few_files_are_all_there(sizes: tuple[int, ...]) -> None:
    ordered = longest_first(rows(*sizes), workers=8)
    assert sorted(row.size_bytes for row in ordered) == sorted(sizes)


def test_each_row_comes_once_with_its_own_prediction(journey) -> None:
    classifier = Classifier.load(journey.run)
    predictions = classifier.classify([journey.new])
    assert [p.path for p in predictions] == sorted(p.path for p in predictions)
    assert len(predictions) == len(list(journey.new.iterdir()))
    assert sum(classifier.ways.values()) >= 6  # a way for every file with a picture


def test_other_backends_are_told_of_and_agree(journey) -> None:
    """The model was trained on OpenVINO's features; torch's give the same within 1e-2."""
    own = Classifier.load(journey.run, load_config(None, ["device=cpu"]))
    other = Classifier.load(
        journey.run, load_config(None, ["device=cpu", "classify.backend=torch"])
    )
    assert own.backend_note == ""
    assert "trained on features made by openvino-cpu" in other.backend_note
    for a, b in zip(own.classify([journey.new]), other.classify([journey.new]), strict=True):
        assert a.status is b.status
        if a.probabilities is not None:
            assert a.probabilities == pytest.approx(b.probabilities, abs=1e-2)


def test_loading_a_run_loads_no_torch(journey) -> None:
    code = (
        "import sys, json; from pipeline.classifying.classify import Classifier; "
        f"c = Classifier.load({str(journey.run)!r}); c.labels; c.backend_note; "
        "print(json.dumps([m for m in ('torch', 'openvino') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr
