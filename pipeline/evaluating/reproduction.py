"""Everything that is needed to make the same numbers again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.classifying.classify import Classifier
from pipeline.config import CrossvalSettings, TrainSettings
from pipeline.records.run_record import RunRecord, environment, read_run_record


def reproduction(classifier: Classifier) -> dict[str, Any]:
    """The same for the same model, wherever it lies: what was typed is not in it."""
    card = classifier.card
    found: dict[str, Any] = {
        "model": classifier.digest,
        "frame_encoder": card.encoder.model_dump(),
        "members": card.members,
        "environment_now": environment(),
    }
    record = read_run_record(classifier.run)
    if record is None:
        return found
    settings = {
        **_other_than_default("train", record.train, TrainSettings()),
        **_other_than_default("model", card.model.model_dump(), ModelSettings()),
        **_other_than_default("clip", card.clip.model_dump(), ClipSettings()),
        **_other_than_default("crossval", record.crossval or {}, CrossvalSettings()),
        **record.prepared_with,
    }
    stage = "train" if record.crossval is None else "crossval"
    return found | {
        "stage": stage,
        "commands": _commands(stage, record.work, settings, _begun(record)),
        "work": record.work,
        "data_digest": record.data_digest,
        "seed": record.train.get("seed"),
        "begun_from": record.begun_from,
        "settings": settings,
        "environment_then": record.environment,
        "prepared_in": record.prepared_in,
        "finished": record.finished,
    }


_OF_PREP_ALONE = ("clip.", "labels.", "split.", "limits.", "classify.")
_OF_PREP = (*_OF_PREP_ALONE, "model.")
_ONE_KEYS = frozenset({"train.mirror", "device"})


def _commands(
    stage: str, work: str, settings: Mapping[str, Any], begun: Sequence[str]
) -> list[str]:
    """What makes the model from the DATA in a folder NEW, to be typed into a shell."""
    words = {key: shlex.quote(f"{key}={_value(value)}") for key, value in settings.items()}
    prep = [word for key, word in words.items() if key.startswith(_OF_PREP) or key in _ONE_KEYS]
    fit = [word for key, word in words.items() if not key.startswith(_OF_PREP_ALONE)]
    work = shlex.quote(work)
    return [
        " ".join(["framewave prep DATA --work", work, *prep]),
        " ".join([f"framewave {stage} --work", work, "--run NEW", *begun, *fit]),
    ]


def _begun(record: RunRecord) -> list[str]:
    if record.begun_from is None:
        return []
    return ["--from", shlex.quote(record.begun_in or "RUN")]


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}'" if value.lower() in ("null", "none", "~", "") else value


def _other_than_default(
    group: str, values: Mapping[str, Any], defaults: BaseModel
) -> dict[str, Any]:
    """{"group.key": value} of settings that differ from the defaults; what is no setting is not."""
    usual = defaults.model_dump()
    return {
        f"{group}.{key}": value
        for key, value in values.items()
        if key in usual and usual[key] != value
    }
