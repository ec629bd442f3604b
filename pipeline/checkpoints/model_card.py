"""The model card, model.json: everything about a model except its weights.

Read without importing torch, which takes seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_prep.settings import ClipSettings, TaskSettings
from models.settings import RANDOM_WEIGHTS, ModelSettings
from pipeline.errors import UserError, first_problem
from pipeline.features.batch_encoder import EncoderSource
from pipeline.storage.run_record import RUN_NAME
from pipeline.storage.workspace import EncoderIdentity, frame_features, with_older_settings
from pipeline.tasks import NAMES as TASK_NAMES
from pipeline.tasks import get_task
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from models.backbones.frame_encoder import FrameEncoder


MODEL_JSON, MODEL_TENSORS = "model.json", "model.safetensors"
_OLDER = "it was made by an older framewave with another network; {}"
_MAX_CARD_BYTES = 64 * 1024 * 1024  # room for 100,000 labels of 200 characters and more


class ModalityUse(Protocol):
    """Anything that declares which modalities it uses: a network, or a model card."""

    @property
    def uses_video(self) -> bool: ...

    @property
    def uses_audio(self) -> bool: ...


def missing_modalities(classifier: ModalityUse, has_video: bool, has_audio: bool) -> str:
    """Why a readable file has no stream that the model uses, or "".

    has_video, has_audio: whether any frame or any sound was decoded.
    """
    if (classifier.uses_video and has_video) or (classifier.uses_audio and has_audio):
        return ""
    if classifier.uses_video and classifier.uses_audio:
        return "the model uses picture and sound, and this file has neither"
    kind = "picture" if classifier.uses_video else "sound"
    return f"the model uses {kind} only, and this file has none"


class ModelCard(BaseModel):
    """Everything about a model except its weights."""

    # forbid: a newer framewave's setting must not be ignored
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["framewave-model"] = "framewave-model"
    version: Literal[4, 5, 6] = 6
    task: str = "clip_label"
    """What the model predicts; see `pipeline.tasks`."""
    task_settings: dict[str, Any] = {}
    """Settings of the task that are not the default."""
    task_state: dict[str, Any] = {}
    """What the task's decoding needs of the training clips."""
    labels: tuple[Annotated[str, Field(max_length=10_000)], ...] = Field(
        min_length=2, max_length=100_000
    )
    clip: ClipSettings
    model: ModelSettings
    encoder: EncoderIdentity
    max_duration_s: float = Field(3600, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longer files are cut to this length, as the training clips were."""
    frames_from_jpegs: bool = False
    """The frame encoder was fine-tuned on stored JPEGs, so classify compresses frames too."""
    encoder_included: bool = False
    """Whether the file holds the weights of the frame encoder, which no package provides."""
    members: int = Field(1, ge=1, le=1000)
    """Number of networks in the ensemble."""
    temperatures: dict[str, Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """Temperatures of calibration, by which log-probabilities are divided: for clips with all
    modalities that the model uses, and for clips with only one. Empty: 1."""

    @field_validator("version", mode="before")
    @classmethod
    def _refuse_old_versions(cls, version: object) -> object:
        if version in (1, 2, 3):  # rejected here for a message that says what to do
            raise ValueError(_OLDER.format("prepare into a new folder and train again"))
        return version

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, task: str) -> str:
        if task not in TASK_NAMES:
            raise ValueError(
                f"this framewave has no task '{task}', only {', '.join(TASK_NAMES)}; a newer one "
                "may have it"
            )
        return task

    @model_validator(mode="after")
    def _task_settings_are_valid(self) -> Self:
        TaskSettings.model_validate({**self.task_settings, "name": self.task})
        try:
            self.get_task().check_state(len(self.labels))
        except (KeyError, TypeError) as error:  # of numbers that are missing, or are none
            raise ValueError(f"task_state is not that of task={self.task}: {error}") from error
        return self

    @model_validator(mode="after")
    def _refuse_old_waveform_front_end(self) -> Self:
        # version 5 changed the waveform front end
        if self.version == 4 and self.uses_audio and self.model.audio_front_end == "waveform":
            raise ValueError(_OLDER.format("train again"))
        return self

    @field_validator("clip", mode="before")
    @classmethod
    def _older_settings(cls, clip: object) -> object:
        return with_older_settings(clip)

    @model_validator(mode="after")
    def _labels_are_text(self) -> Self:
        # predictions.csv has one column per label
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ValueError("labels must be different and not empty")
        for label in self.labels:
            label.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
        return self

    @model_validator(mode="after")
    def _refuse_weights_paths(self) -> Self:
        # a path in a downloaded model must not open files here
        own = self.encoder_included or self.model.frame_weights in (None, RANDOM_WEIGHTS)
        if not own:
            raise ValueError(
                "model.frame_weights must not name a file; the weights must be included"
            )
        return self

    def get_task(self) -> Task:
        """The task of the model."""
        task = get_task(TaskSettings(name=self.task, **self.task_settings), self.clip.step_s)
        return task.with_state(self.task_state)

    @property
    def uses_video(self) -> bool:
        return self.model.modalities in ("both", "picture")

    @property
    def uses_audio(self) -> bool:
        return self.model.modalities in ("both", "sound")

    @property
    def uses_spectrograms(self) -> bool:
        """Whether sound goes through the frame encoder too, as images of windows of it."""
        return self.uses_audio and self.model.audio_front_end == "pretrained"

    @property
    def frame_features(self) -> int:
        """Number of features per frame, as prep and classify compute them."""
        return frame_features(self.encoder, self.clip)

    def encoder_source(self, load: Callable[[], FrameEncoder]) -> EncoderSource:
        """Source of the frame encoder; `load` builds it in torch if that is needed."""
        identity, side_px = self.encoder, self.clip.frame_size_px
        assert side_px is not None
        return EncoderSource(
            identity.name, identity.weights_digest, identity.n_features, (3, side_px, side_px), load
        )


@dataclass(frozen=True)
class ModelDescription:
    """The card of a trained run, and the digest that identifies it in tables and journals."""

    card: ModelCard
    digest: str
    """Hash of model.json and model.safetensors."""


def read_description(run: Path) -> ModelDescription:
    """Read the card of a trained run. Raises UserError if it is missing or damaged."""
    card_path, tensors_path = run / MODEL_JSON, run / MODEL_TENSORS
    if not card_path.is_file() or not tensors_path.is_file():
        was_started = (run / RUN_NAME).is_file()  # train and crossval write it first
        raise UserError(
            f"{run} holds no trained model ({MODEL_JSON}, {MODEL_TENSORS}); "
            + (
                "a run was started there but not finished: repeat the same command to continue it"
                if was_started
                else f"run `framewave train --work … --run {run}` first"
            )
        )
    try:
        card, text = _read_card(card_path)
        # both files, so retraining changes it
        digest = hashlib.sha256(text.encode() + tensors_path.read_bytes()).hexdigest()[:12]
    except (OSError, ValueError, RecursionError) as error:  # ValidationError is a ValueError
        raise UserError(f"the model in {run} cannot be read: {first_problem(error)}") from error
    return ModelDescription(card, digest)


def _read_card(path: Path) -> tuple[ModelCard, str]:
    size = path.stat().st_size
    if size > _MAX_CARD_BYTES:  # checked before reading: a model may come from anyone
        raise ValueError(f"{path.name} has {size} bytes; at most {_MAX_CARD_BYTES} are read")
    text = path.read_text("utf-8")
    return ModelCard.model_validate(json.loads(text)), text
