"""What a model folder says of itself in model.json; read without torch, which takes seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_prep.settings import ClipSettings
from models.settings import RANDOM_WEIGHTS, ModelSettings
from pipeline.errors import UserError, first_problem
from pipeline.features.batch_encoder import EncoderSource
from pipeline.storage.run_record import RUN_NAME
from pipeline.storage.workspace import EncoderIdentity, frame_features, with_older_settings

if TYPE_CHECKING:
    from models.backbones.frame_encoder import FrameEncoder


MODEL_JSON, MODEL_TENSORS = "model.json", "model.safetensors"
_OLDER = "it was made by an older framewave with another network; {}"
_MAX_CARD_BYTES = 64 * 1024 * 1024  # 100,000 labels of 200 characters, and room


class ModalityUse(Protocol):
    """A network, or a model's card."""

    @property
    def uses_video(self) -> bool: ...

    @property
    def uses_audio(self) -> bool: ...


def missing_modalities(classifier: ModalityUse, seen: bool, heard: bool) -> str:
    """Why a readable file gives this model nothing to see or hear, or ""."""
    if (classifier.uses_video and seen) or (classifier.uses_audio and heard):
        return ""
    kind = "picture" if classifier.uses_video else "sound"
    return f"the model judges by {kind} alone, and this file has none"


class ModelCard(BaseModel):
    """Everything about a model that is no weight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["framewave-model"] = "framewave-model"
    version: Literal[4, 5, 6] = 6
    task: str = "clip_label"
    """What the model is asked; see `pipeline.tasks`."""
    labels: tuple[Annotated[str, Field(max_length=10_000)], ...] = Field(
        min_length=2, max_length=100_000
    )
    clip: ClipSettings
    model: ModelSettings
    encoder: EncoderIdentity
    max_duration_s: float = Field(3600, gt=0, le=3_600_000, allow_inf_nan=False)
    """Longer files are cut here, as the training clips were."""
    frames_from_jpegs: bool = False
    """The frame encoder was tuned on stored frames, so classify sends frames through JPEG too."""
    encoder_included: bool = False
    """The frame encoder's weights are in the file (they are no installed package's)."""
    members: int = Field(1, ge=1, le=1000)
    """Networks trained apart that answer together."""
    temperatures: dict[str, Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """What log-probabilities are divided by, so that they are as sure as they are right: for clips
    that have all the model uses, and for those with one modality alone. Empty: 1."""

    @field_validator("version", mode="before")
    @classmethod
    def _is_of_this_kind(cls, version: object) -> object:
        if version in (1, 2, 3):
            raise ValueError(_OLDER.format("prepare into a new folder and train again"))
        return version

    @model_validator(mode="after")
    def _hears_as_now(self) -> Self:
        if self.version == 4 and self.uses_audio and self.model.audio_front_end == "waveform":
            raise ValueError(_OLDER.format("train again"))
        return self

    @field_validator("clip", mode="before")
    @classmethod
    def _older_settings(cls, clip: object) -> object:
        return with_older_settings(clip)

    @model_validator(mode="after")
    def _labels_are_text(self) -> Self:
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ValueError("labels must be different and not empty")
        for label in self.labels:
            label.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
        return self

    @model_validator(mode="after")
    def _opens_no_other_file(self) -> Self:
        own = self.encoder_included or self.model.frame_weights in (None, RANDOM_WEIGHTS)
        if not own:
            raise ValueError("a model names no weights file of its own; they must be included")
        return self

    @property
    def uses_video(self) -> bool:
        return self.model.modalities in ("both", "picture")

    @property
    def uses_audio(self) -> bool:
        return self.model.modalities in ("both", "sound")

    @property
    def uses_spectrograms(self) -> bool:
        """Sound goes through the frame encoder too, as pictures of windows of it."""
        return self.uses_audio and self.model.audio_front_end == "pretrained"

    @property
    def frame_features(self) -> int:
        """Width of a frame's vector, as prep and classify make it."""
        return frame_features(self.encoder, self.clip)

    def encoder_source(self, load: Callable[[], FrameEncoder]) -> EncoderSource:
        """What the frame encoder is made from; `load` builds it, where it has to be built."""
        identity, side_px = self.encoder, self.clip.frame_size_px
        assert side_px is not None
        return EncoderSource(
            identity.name, identity.weights_digest, identity.n_features, (3, side_px, side_px), load
        )


@dataclass(frozen=True)
class ModelDescription:
    """A trained run's card, and the digest that names it in tables and journals."""

    card: ModelCard
    digest: str
    """Hash of model.json and model.safetensors."""


def read_description(run: Path) -> ModelDescription:
    """Read a trained run's card. Raises UserError where there is none, or it is damaged."""
    card_path, tensors_path = run / MODEL_JSON, run / MODEL_TENSORS
    if not card_path.is_file() or not tensors_path.is_file():
        begun = (run / RUN_NAME).is_file()  # by train or crossval
        raise UserError(
            f"{run} holds no trained model ({MODEL_JSON}, {MODEL_TENSORS}); "
            + (
                "what was begun there has not ended: run the same command again, it continues"
                if begun
                else f"run `framewave train --work … --run {run}` first"
            )
        )
    try:
        card, text = _read_card(card_path)
        digest = hashlib.sha256(text.encode() + tensors_path.read_bytes()).hexdigest()[:12]
    except (OSError, ValueError, RecursionError) as error:  # pydantic's is a ValueError
        raise UserError(f"the model in {run} cannot be read: {first_problem(error)}") from error
    return ModelDescription(card, digest)


def _read_card(path: Path) -> tuple[ModelCard, str]:
    size = path.stat().st_size
    if size > _MAX_CARD_BYTES:
        raise ValueError(f"{path.name} has {size} bytes; at most {_MAX_CARD_BYTES} are read")
    text = path.read_text("utf-8")
    return ModelCard.model_validate(json.loads(text)), text
