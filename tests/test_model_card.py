import json

import pytest
from pydantic import ValidationError

from models.settings import ModelSettings
from pipeline.checkpoints.model_card import (
    MODEL_JSON,
    MODEL_TENSORS,
    ModelCard,
    missing_modalities,
    read_description,
)
from pipeline.errors import UserError
from tests.helpers.cards import card


def test_models_older_than_the_promise_keep_exact_frames() -> None:
    values = json.loads(card().model_dump_json())
    assert ModelCard.model_validate(values).clip.tolerance_s == 0.5
    del values["clip"]["frame_tolerance_s"]
    assert ModelCard.model_validate(values).clip.tolerance_s == 0.0


@pytest.mark.parametrize(
    ("modalities", "sees", "hears"),
    [("both", True, True), ("picture", True, False), ("sound", False, True)],
)
def test_what_a_model_uses(modalities: str, sees: bool, hears: bool) -> None:
    own = card(model=ModelSettings(modalities=modalities))
    assert (own.uses_video, own.uses_audio) == (sees, hears)


@pytest.mark.parametrize(
    "changes", [{"name": "../../outside"}, {"name": "/etc/x"}, {"weights_digest": "a/b"}]
)
def test_a_strangers_names_lead_nowhere_else(changes: dict[str, str]) -> None:
    values = json.loads(card().model_dump_json())
    values["encoder"] |= changes
    with pytest.raises(ValidationError, match="match pattern"):
        ModelCard.model_validate(values)


def test_the_digest_names_both_files(tmp_path) -> None:
    (tmp_path / MODEL_JSON).write_text(card().model_dump_json())
    (tmp_path / MODEL_TENSORS).write_bytes(b"one")
    first = read_description(tmp_path)
    assert first.card == card()
    (tmp_path / MODEL_TENSORS).write_bytes(b"two")
    assert read_description(tmp_path).digest != first.digest


def test_what_cannot_be_read_is_said(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        read_description(tmp_path)
    (tmp_path / MODEL_JSON).write_text("{")
    (tmp_path / MODEL_TENSORS).write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        read_description(tmp_path)
    entries = card().model_dump(mode="json")
    del entries["encoder"]["backend"]
    (tmp_path / MODEL_JSON).write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"cannot be read: encoder\.backend: Field required"):
        read_description(tmp_path)


def test_a_model_of_an_unknown_task_says_so() -> None:
    with pytest.raises(ValidationError, match="no task 'toy', only clip_label"):
        ModelCard.model_validate(card().model_dump() | {"task": "toy"})


@pytest.mark.parametrize(
    ("task", "state"),
    [
        ("timeline", {"transitions": [[0.5, 0.5]]}),
        ("timeline", {"transitions": [[0.5, "a"], [0.5, 0.5]]}),
        ("events", {"transitions": [[0.5, float("nan")], [0.5, 0.5]]}),
        ("forecast", {}),
        ("forecast", {"leave": [[2.0], [0.5]], "following": [[0, 1], [1, 0]],
                      "frequency": [0.5, 0.5]}),
        ("forecast", {"leave": [[0.1], [0.5]], "following": [[0, 1], [1, 0]],
                      "frequency": [0.5, 0.5], "evidence_weight": 1, "weights": [[1, 1]]}),
        ("forecast", {"leave": [[0.1], [0.5]], "following": [[0, 0], [1, 0]],
                      "frequency": [0.5, 0.5]}),
    ],
)  # fmt: skip
def test_a_damaged_state_of_the_task_says_so(task: str, state: dict) -> None:
    changes = {"task": task, "task_state": state, "labels": ("a", "b")}
    with pytest.raises(ValidationError, match="task_state"):
        ModelCard.model_validate(card().model_dump() | changes)


def test_models_that_heard_waveforms_otherwise_are_refused_and_no_others() -> None:
    for kind in ("log_mel", "pretrained", "waveform"):
        values = json.loads(card(model=ModelSettings(modalities="both", audio_front_end=kind))
                            .model_dump_json())  # fmt: skip
        ModelCard.model_validate(values)
        values["version"] = 4
        if kind == "waveform":
            with pytest.raises(ValidationError, match=r"older framewave .* train again"):
                ModelCard.model_validate(values)
        else:
            assert ModelCard.model_validate(values).version == 4


@pytest.mark.parametrize(
    ("modalities", "says"),
    [("both", "picture and sound, and this file has neither"), ("sound", "sound only")],
)
def test_a_file_without_what_the_model_uses(modalities: str, says: str) -> None:
    model = card(model=ModelSettings(modalities=modalities))
    assert says in missing_modalities(model, False, False)
    assert missing_modalities(model, False, True) == ""
