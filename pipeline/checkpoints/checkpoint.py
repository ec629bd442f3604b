"""Save and load a trained model: model.safetensors (weights) and model.json (the model card).

Loading runs no code from the files: the JSON is validated against typed models, the tensors against
the architecture that the JSON declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from data_prep.files import replacing, write_text_atomically
from models.audio.front_end import AudioFrontEnd
from models.backbones.frame_encoder import FrameEncoder
from models.classifier import AudioVisualClassifier, Dimensions
from models.ensemble import Ensemble
from models.settings import spectrogram_feature_dim
from pipeline.checkpoints.model_card import MODEL_JSON, MODEL_TENSORS, ModelCard, read_description
from pipeline.errors import UserError, first_problem
from pipeline.features.encoder_weights import load_frame_encoder, weights_digest

_ENCODER = "frame_encoder."
_RENAMED_IN_6 = (
    ("head.", "temporal."), ("readout.", "head.pooling."), ("out.", "head.linear."),
    ("own.picture.out.", "unimodal.picture.linear."), ("own.sound.out.", "unimodal.sound.linear."),
    ("stand_ins.", "missing_embeddings."), ("picture_encoder.still.", "video_branch.static."),
    ("picture_encoder.moving.", "video_branch.motion."), ("answer_weights", "fusion_mask"),
)  # fmt: skip
"""(old, new) prefixes of tensor names; files of version 5 and before have the old ones."""


class _SkipInitialisation(TorchFunctionMode):
    """Skips weight initialisation: on the meta device it would load torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("__"):  # in-place operations, as nn.init uses
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class LoadedModel:
    """A trained model in memory.

    encoder_state: weights of a fine-tuned frame encoder, None for a package's weights.
    """

    card: ModelCard
    classifier: Ensemble
    front_end: AudioFrontEnd
    encoder_state: dict[str, Tensor] | None
    digest: str
    """Identifies the model in tables and journals: hash of model.json and model.safetensors."""

    def frame_encoder(self) -> FrameEncoder:
        """The frame encoder of training. Raises UserError if the installed weights differ."""
        # loaded for inference, so nothing is trainable
        settings = self.card.model.model_copy(update={"trainable_blocks": 0})
        if self.encoder_state is None:
            encoder = load_frame_encoder(settings)
        else:
            # replaced at once by the stored weights
            encoder = load_frame_encoder(settings.model_copy(update={"frame_weights": "random"}))
            try:
                encoder.load_state_dict(self.encoder_state)
            except RuntimeError as error:
                raise UserError(f"{MODEL_TENSORS}: the frame encoder's weights do not fit") from (
                    error
                )
        digest = weights_digest(encoder.state_dict())
        # other weights give other features, silently
        if digest != self.card.encoder.weights_digest:
            raise UserError(
                f"the model was trained with {self.card.encoder.name} weights "
                f"{self.card.encoder.weights_digest}, but those here are {digest}; install the "
                "package version of the training machine, or train again"
            )
        return encoder


def build_front_end(card: ModelCard) -> AudioFrontEnd:
    """The audio front end that a card describes. Raises UserError for contradictory settings."""
    try:
        return AudioFrontEnd(
            card.model, card.clip.audio_rate_hz, card.clip.samples_per_step,
            spectrogram_feature_dim(card.encoder.n_features), card.clip.causal,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error


def build_classifier(card: ModelCard, front_end: AudioFrontEnd) -> AudioVisualClassifier:
    """The network that a card describes, untrained. Raises UserError for contradictory settings."""
    dimensions = Dimensions(
        card.frame_features, front_end.n_bands, front_end.frames_per_step,
        card.clip.audio_rate_hz, len(card.labels), card.clip.causal, card.get_task().history_steps,
    )  # fmt: skip
    try:
        return AudioVisualClassifier(card.model, dimensions, card.get_task().build_head())
    except ValueError as error:
        raise UserError(str(error)) from error


def save_model(
    run: Path,
    card: ModelCard,
    members: Sequence[AudioVisualClassifier],
    encoder: FrameEncoder | None,
) -> None:
    """Write both files, each by temporary file and rename. encoder: a fine-tuned one, or None."""
    card = card.model_copy(update={"members": len(members)})
    tensors = {
        _prefix(number) + name: value
        for number, member in enumerate(members)
        for name, value in member.state_dict().items()
    }
    if encoder is not None:
        tensors |= {_ENCODER + name: value for name, value in encoder.state_dict().items()}
    # safetensors refuses views
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    with replacing(run / MODEL_TENSORS) as temporary:
        temporary.write_bytes(data)
    # last: with the JSON the run counts as trained
    write_text_atomically(run / MODEL_JSON, card.model_dump_json(indent=1) + "\n")


def load_model(run: Path) -> LoadedModel:
    """Load a trained run. Raises UserError if it is missing, damaged or inconsistent."""
    description = read_description(run)
    card, tensors_path = description.card, run / MODEL_TENSORS
    try:
        front_end = build_front_end(card)
        # meta device: shapes are checked before anything is allocated
        with torch.device("meta"), _SkipInitialisation():
            shapes = _shapes(build_classifier(card, front_end))
        prefixes = [_prefix(number) for number in range(card.members)]
        # name in the network: name in the file
        stored = {name: name if card.version >= 6 else _name_before_6(name) for name in shapes}
        wanted = {
            prefix + stored[name]: shape for prefix in prefixes for name, shape in shapes.items()
        }
        tensors = _read_tensors(tensors_path, wanted, card)
    except (OSError, ValueError, SafetensorError, RecursionError) as error:  # deeply nested JSON
        raise UserError(f"the model in {run} cannot be read: {first_problem(error)}") from error
    members = []
    for prefix in prefixes:
        member = build_classifier(card, front_end)
        member.load_state_dict({name: tensors[prefix + stored[name]] for name in shapes})
        members.append(member)
    classifier = _ensemble(members, card, run).eval()  # dropout off
    encoder = {k.removeprefix(_ENCODER): v for k, v in tensors.items() if k.startswith(_ENCODER)}
    return LoadedModel(
        card, classifier, front_end, encoder if card.encoder_included else None, description.digest
    )


def _ensemble(members: Sequence[AudioVisualClassifier], card: ModelCard, run: Path) -> Ensemble:
    try:
        return Ensemble(members, card.temperatures or None)
    except ValueError as error:
        raise UserError(f"the model in {run} cannot be read: {error}") from error


def _prefix(member: int) -> str:
    """Prefix of the tensor names of a member."""
    # the first without a number: files with one network stay readable
    return f"classifier{member + 1 if member else ''}."


def _name_before_6(name: str) -> str:
    """Name of a member's tensor in models of version 5 and before."""
    for old, new in _RENAMED_IN_6:
        if name.startswith(new):  # at most one prefix fits
            return old + name.removeprefix(new)
    return name


def _shapes(classifier: AudioVisualClassifier) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in classifier.state_dict().items()}


def _read_tensors(
    path: Path, wanted: dict[str, tuple[int, ...]], card: ModelCard
) -> dict[str, Tensor]:
    """The tensors of a file, read only after names, shapes and dtypes match the card.

    Raises ValueError if they do not, or if a value is not finite.
    """
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        # shapes come from the header; no data is read yet
        slices = {name: file.get_slice(name) for name in names}
        encoder_names = {name for name in names if name.startswith(_ENCODER)}
        found = {n: tuple(part.get_shape()) for n, part in slices.items() if n not in encoder_names}
        if found != wanted or (encoder_names and not card.encoder_included):
            raise ValueError(f"{path.name} does not hold the network that {MODEL_JSON} describes")
        dtypes = {part.get_dtype() for part in slices.values()}
        if not dtypes <= {"F32", "I64"}:  # I64: counters of batch normalisation
            raise ValueError(
                f"{path.name} holds unsupported data types: {', '.join(sorted(dtypes))}"
            )
        tensors = {name: file.get_tensor(name) for name in names}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path.name}: {name} holds numbers that are not finite")
    return tensors
