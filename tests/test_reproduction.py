"""What is needed to make a model again: only what differs from the defaults, and digests."""

from __future__ import annotations

import json

import pytest

from pipeline.classifying.classify import Classifier
from pipeline.evaluating.reproduction import reproduction

pytestmark = pytest.mark.end_to_end


def test_settings_that_differ_are_listed_and_no_others(journey) -> None:
    found = reproduction(Classifier.load(journey.run))
    assert found["stage"] == "train"
    assert found["settings"]["train.max_epochs"] == 6
    assert found["settings"]["model.head_units"] == 32
    assert found["settings"]["model.frame_encoder"] == "efficientnet_lite0"
    assert "train.learning_rate" not in found["settings"]
    assert found["seed"] == 0
    record = json.loads((journey.run / "run.json").read_text())
    assert found["data_digest"] == record["data_digest"]
    assert found["environment_then"] == found["environment_now"]


def test_a_model_without_its_record_still_tells_what_it_is(journey, tmp_path) -> None:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((journey.run / name).read_bytes())
    found = reproduction(Classifier.load(tmp_path))
    assert found["model"] == Classifier.load(journey.run).digest
    assert "stage" not in found
    assert found["frame_encoder"]["weights_digest"]
