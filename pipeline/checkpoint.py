"""A trained model on disk: model.safetensors (numbers) and model.json (what they mean).

Reading runs no code: JSON is validated against typed models, tensors against the architecture
that the JSON declares.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from data_prep.manifest import write_text_atomically
from data_prep.settings import ClipSettings
from models.audio_front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, Dimensions
from models.frame_encoder import FrameEncoder
from models.settings import ModelSettings
from pipeline.encoder import load_frame_encoder, weights_digest
from pipeline.errors import UserError
from pipeline.workspace import EncoderIdentity

MODEL_JSON, MODEL_TENSORS = "model.json", "model.safetensors"
_HEAD, _ENCODER = "classifier.", "frame_encoder."


class ModelCard(BaseModel):
    """Everything about a model that is no weight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["framewave-model"] = "framewave-model"
    version: Literal[1] = 1
    labels: tuple[str, ...] = Field(min_length=2, max_length=100_000)
    clip: ClipSettings
    model: ModelSettings
    encoder: EncoderIdentity
    max_duration_s: float = Field(3600, gt=0)
    """Longer files are cut here, as the training clips were."""
    frames_from_jpegs: bool = False
    """The frame encoder was tuned on stored frames, so classify sends frames through JPEG too."""
    encoder_included: bool = False
    """The frame encoder's weights are in the file (they are no installed package's)."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to use."""

    card: ModelCard
    classifier: AudioVisualClassifier
    front_end: AudioFrontEnd
    encoder_state: dict[str, Tensor] | None
    digest: str
    """Names this model in tables and journals: hash of model.json and model.safetensors."""

    def frame_encoder(self) -> FrameEncoder:
        """The encoder the model was trained with. Raises UserError if that is not what is here."""
        settings = self.card.model.model_copy(update={"trainable_blocks": 0})
        if self.encoder_state is None:
            encoder = load_frame_encoder(settings)
        else:
            encoder = load_frame_encoder(settings.model_copy(update={"frame_weights": "random"}))
            try:
                encoder.load_state_dict(self.encoder_state)
            except RuntimeError as error:
                raise UserError(f"{MODEL_TENSORS}: the frame encoder's weights do not fit") from (
                    error
                )
        digest = weights_digest(encoder.state_dict())
        if digest != self.card.encoder.weights_digest:
            raise UserError(
                f"the model was trained with {self.card.encoder.name} weights "
                f"{self.card.encoder.weights_digest}, but those here are {digest}; install the "
                "package version of the training machine, or train again"
            )
        return encoder


def build_front_end(card: ModelCard) -> AudioFrontEnd:
    """The audio front end a card describes. Raises UserError where settings clash."""
    try:
        return AudioFrontEnd(card.model, card.clip.audio_rate_hz, card.clip.samples_per_step)
    except ValueError as error:
        raise UserError(str(error)) from error


def build_classifier(card: ModelCard, front_end: AudioFrontEnd) -> AudioVisualClassifier:
    """The network a card describes, with fresh weights. Raises UserError where settings clash."""
    dimensions = Dimensions(
        card.encoder.n_features, front_end.n_bands, front_end.frames_per_step, len(card.labels)
    )
    try:
        return AudioVisualClassifier(card.model, dimensions)
    except ValueError as error:
        raise UserError(str(error)) from error


def save_model(
    run: Path,
    card: ModelCard,
    classifier: AudioVisualClassifier,
    encoder: FrameEncoder | None,
) -> None:
    """Write both files, each by temporary file and rename, the JSON last."""
    tensors = {_HEAD + name: value for name, value in classifier.state_dict().items()}
    if encoder is not None:
        tensors |= {_ENCODER + name: value for name, value in encoder.state_dict().items()}
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    run.mkdir(parents=True, exist_ok=True)
    temporary = run / f".{MODEL_TENSORS}.tmp"
    temporary.write_bytes(data)
    temporary.replace(run / MODEL_TENSORS)
    write_text_atomically(run / MODEL_JSON, card.model_dump_json(indent=1) + "\n")


def load_model(run: Path) -> LoadedModel:
    """Read a trained run. Raises UserError where it is missing, damaged or does not fit itself."""
    card_path, tensors_path = run / MODEL_JSON, run / MODEL_TENSORS
    if not card_path.is_file() or not tensors_path.is_file():
        raise UserError(
            f"{run} holds no trained model ({MODEL_JSON}, {MODEL_TENSORS}); run "
            f"`framewave train --work … --run {run}` first"
        )
    try:
        text = card_path.read_text("utf-8")
        card = ModelCard.model_validate(json.loads(text))
        tensors = load_file(tensors_path)
    except (OSError, ValueError, ValidationError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the model in {run} cannot be read: {first}") from error
    front_end = build_front_end(card)
    with torch.device("meta"):  # the declared sizes are compared before anything is allocated
        declared = build_classifier(card, front_end)
    head = {k.removeprefix(_HEAD): v for k, v in tensors.items() if k.startswith(_HEAD)}
    wanted = {name: tuple(value.shape) for name, value in declared.state_dict().items()}
    if wanted != {name: tuple(value.shape) for name, value in head.items()}:
        raise UserError(f"{tensors_path} does not hold the network that {card_path} describes")
    classifier = build_classifier(card, front_end)
    classifier.load_state_dict(head)
    classifier.eval()
    encoder = {k.removeprefix(_ENCODER): v for k, v in tensors.items() if k.startswith(_ENCODER)}
    digest = hashlib.sha256(text.encode() + tensors_path.read_bytes()).hexdigest()[:12]
    return LoadedModel(
        card, classifier, front_end, encoder if card.encoder_included else None, digest
    )
