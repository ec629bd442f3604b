"""A trained model on disk: model.safetensors (numbers) and model.json (what they mean).

Reading runs no code: JSON is validated against typed models, tensors against the architecture
that the JSON declares.
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
from pipeline.tasks import get_task

_ENCODER = "frame_encoder."
_RENAMED_IN_6 = (
    ("head.", "temporal."), ("readout.", "head.pooling."), ("out.", "head.linear."),
    ("own.picture.out.", "unimodal.picture.linear."), ("own.sound.out.", "unimodal.sound.linear."),
    ("stand_ins.", "missing_embeddings."), ("picture_encoder.still.", "video_branch.static."),
    ("picture_encoder.moving.", "video_branch.motion."), ("answer_weights", "fusion_mask"),
)  # fmt: skip
"""(before, now): how names of tensors begin, which models of version 5 and before had otherwise."""


class _SkipInitialisation(TorchFunctionMode):
    """Leaves fresh weights as they are: filling them on the meta device loads torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.startswith("__"):  # fills or changes in place
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to use."""

    card: ModelCard
    classifier: Ensemble
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
        return AudioFrontEnd(
            card.model, card.clip.audio_rate_hz, card.clip.samples_per_step,
            spectrogram_feature_dim(card.encoder.n_features),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error


def build_classifier(card: ModelCard, front_end: AudioFrontEnd) -> AudioVisualClassifier:
    """The network a card describes, with fresh weights. Raises UserError where settings clash."""
    dimensions = Dimensions(
        card.frame_features, front_end.n_bands, front_end.frames_per_step,
        card.clip.audio_rate_hz, len(card.labels),
    )  # fmt: skip
    try:
        return AudioVisualClassifier(card.model, dimensions, get_task(card.task).build_head())
    except ValueError as error:
        raise UserError(str(error)) from error


def save_model(
    run: Path,
    card: ModelCard,
    members: Sequence[AudioVisualClassifier],
    encoder: FrameEncoder | None,
) -> None:
    """Write both files, each by temporary file and rename, the JSON last."""
    card = card.model_copy(update={"members": len(members)})
    tensors = {
        _prefix(number) + name: value
        for number, member in enumerate(members)
        for name, value in member.state_dict().items()
    }
    if encoder is not None:
        tensors |= {_ENCODER + name: value for name, value in encoder.state_dict().items()}
    data = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    with replacing(run / MODEL_TENSORS) as temporary:
        temporary.write_bytes(data)
    write_text_atomically(run / MODEL_JSON, card.model_dump_json(indent=1) + "\n")


def load_model(run: Path) -> LoadedModel:
    """Read a trained run. Raises UserError where it is missing, damaged or does not fit itself."""
    described = read_description(run)
    card, tensors_path = described.card, run / MODEL_TENSORS
    try:
        front_end = build_front_end(card)
        # declared sizes are compared before anything is allocated
        with torch.device("meta"), _SkipInitialisation():
            one = _shapes(build_classifier(card, front_end))
        prefixes = [_prefix(number) for number in range(card.members)]
        stored = {name: name if card.version >= 6 else _name_before_6(name) for name in one}
        wanted = {
            prefix + stored[name]: shape for prefix in prefixes for name, shape in one.items()
        }
        tensors = _read_tensors(tensors_path, wanted, card)
    except (OSError, ValueError, SafetensorError, RecursionError) as error:
        raise UserError(f"the model in {run} cannot be read: {first_problem(error)}") from error
    members = []
    for prefix in prefixes:
        member = build_classifier(card, front_end)
        member.load_state_dict({name: tensors[prefix + stored[name]] for name in one})
        members.append(member)
    classifier = _ensemble(members, card, run).eval()
    encoder = {k.removeprefix(_ENCODER): v for k, v in tensors.items() if k.startswith(_ENCODER)}
    return LoadedModel(
        card, classifier, front_end, encoder if card.encoder_included else None, described.digest
    )


def _ensemble(members: Sequence[AudioVisualClassifier], card: ModelCard, run: Path) -> Ensemble:
    try:
        return Ensemble(members, card.temperatures or None)
    except ValueError as error:
        raise UserError(f"the model in {run} cannot be read: {error}") from error


def _prefix(member: int) -> str:
    """Names of a member's tensors begin so."""
    return f"classifier{member + 1 if member else ''}."


def _name_before_6(name: str) -> str:
    """What a tensor of a member was called in models of version 5 and before."""
    for before, now in _RENAMED_IN_6:
        if name.startswith(now):
            return before + name.removeprefix(now)
    return name


def _shapes(classifier: AudioVisualClassifier) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in classifier.state_dict().items()}


def _read_tensors(
    path: Path, wanted: dict[str, tuple[int, ...]], card: ModelCard
) -> dict[str, Tensor]:
    """The file's tensors, read only once names, shapes and kinds are what the card declares."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        slices = {name: file.get_slice(name) for name in names}
        others = {name for name in names if name.startswith(_ENCODER)}
        found = {n: tuple(part.get_shape()) for n, part in slices.items() if n not in others}
        if found != wanted or (others and not card.encoder_included):
            raise ValueError(f"{path.name} does not hold the network that {MODEL_JSON} describes")
        kinds = {part.get_dtype() for part in slices.values()}
        if not kinds <= {"F32", "I64"}:
            raise ValueError(f"{path.name} holds numbers of kinds {', '.join(sorted(kinds))}")
        tensors = {name: file.get_tensor(name) for name in names}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path.name}: {name} holds numbers that are not finite")
    return tensors
