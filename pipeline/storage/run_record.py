"""run.json: settings, data and result of a training run; a resumed run must match it."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from data_prep.files import write_text_atomically
from data_prep.media.pyav_media import ffmpeg_versions
from data_prep.settings import TaskSettings
from pipeline.errors import UserError
from pipeline.storage.journal import differences

RUN_NAME = "run.json"


class RunRecord(BaseModel):
    """Settings, data and environment of one training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    work: str
    data_digest: str
    card: dict[str, Any]
    train: dict[str, Any]
    crossval: dict[str, Any] | None = None
    """In a cross-validation: its settings, and a digest of the fold assignment."""
    begun_from: str | None = None
    """Digest of the model whose weights were the initialisation (--from)."""
    begun_in: str | None = None
    """Folder of that model's run at the time."""
    environment: dict[str, str]
    prepared_with: dict[str, Any] = {}
    """Settings of other groups than clip and model that the work folder was prepared with."""
    prepared_in: dict[str, str] = {}
    """Package versions that computed the features."""
    finished: dict[str, float] | None = None  # None until training has ended

    @field_validator("card", mode="before")
    @classmethod
    def _older_card(cls, card: object) -> object:
        return {"task": "clip_label", **card} if isinstance(card, dict) else card

    @field_validator("train", mode="before")
    @classmethod
    def _older_settings(cls, train: object) -> object:
        """Fill in the behaviour of runs that were written before these settings existed."""
        if isinstance(train, dict):
            older = {"choose_by": "macro_f1", "mixup_within": 0.0, **train}
            # 20 was the default, and like auto it was ignored with few validation clips
            return older | {"patience": "auto"} if train.get("patience") == 20 else older
        return train

    def refuse_other(self, other: RunRecord, run: Path) -> None:
        """Raise UserError if `other`, which this command requests, does not match this run."""
        if (self.crossval is None) != (other.crossval is None):
            kind = "train" if self.crossval is None else "crossval"
            raise UserError(
                f"{run} was started by `framewave {kind}`; use another --run, or delete the folder"
            )
        if self.data_digest != other.data_digest:
            raise UserError(
                f"{run} was started on other clips, labels or splits than {other.work} holds now; "
                "use another --run, or delete the folder to start again"
            )
        for group in ("train", "crossval", "card"):
            mine, others = (_comparable(getattr(each, group) or {}) for each in (self, other))
            for key, here, requested in differences(mine, others):
                name = f"{group}.{key}".removeprefix("card.")
                if name == "version":
                    if self.finished is not None:  # an old model can be used, not trained further
                        continue
                    raise UserError(
                        f"{run} was started by an older framewave, whose training cannot be "
                        "continued; use another --run, or delete the folder to start again"
                    )
                raise UserError(
                    f"{run} was started with {name}={here}, this command asks for {requested}; use "
                    "another --run, or delete the folder to start again"
                )
        if self.begun_from != other.begun_from:
            raise UserError(
                f"{run} was started from {self.begun_from or 'random weights'}, this command from "
                f"{other.begun_from or 'random weights'}; use another --run, or the same --from"
            )


def environment() -> dict[str, str]:
    """Versions that results depend on: Python, framewave, its dependencies, FFmpeg's libraries."""
    declared = [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in requires("framewave") or []
                if "extra ==" not in need]  # fmt: skip
    versions = {"python": platform.python_version(), "framewave": version("framewave")}
    for name in sorted(declared):
        with suppress(PackageNotFoundError):  # for another platform or Python version
            versions[name] = version(name)
    return versions | ffmpeg_versions()  # bundled with PyAV, whose version does not name them


def read_run_record(run: Path) -> RunRecord | None:
    """The run's record, or None if no run was started. Raises UserError if it is damaged."""
    path = run / RUN_NAME
    try:
        return RunRecord.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} is damaged; delete {run} to start again") from error


def write_run_record(run: Path, record: RunRecord) -> None:
    """Write run.json atomically."""
    write_text_atomically(run / RUN_NAME, record.model_dump_json(indent=1) + "\n")


def _comparable(group: dict[str, Any]) -> dict[str, Any]:
    """A group of settings; of a model card, all settings of the task, and not what was fitted."""
    if "task_settings" not in group:
        return group
    rest = {key: value for key, value in group.items() if not key.startswith("task")}
    task = {**group["task_settings"], "name": group.get("task", TaskSettings().name)}
    # a card holds the settings that are not the default
    # first, since other settings and the labels follow from it
    return {"task": TaskSettings.model_validate(task).model_dump()} | rest
