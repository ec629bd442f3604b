"""Weights of the frame encoder: finding, reading and hashing them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from models.backbones import backbone_names, get_backbone, is_backbone
from models.backbones.frame_encoder import FrameEncoder
from models.settings import RANDOM_WEIGHTS, ModelSettings
from pipeline.errors import UserError, nearest
from pipeline.features.batch_encoder import EncoderSource


def load_frame_encoder(
    settings: ModelSettings, state: Mapping[str, Tensor] | None = None
) -> FrameEncoder:
    """Build the frame encoder with its weights: `state` if given, else those of the settings.

    Raises UserError if the name is unknown, or if weights are missing or do not fit.
    """
    name = settings.frame_encoder
    if not is_backbone(name):
        raise UserError(
            f"model.frame_encoder={name} is not a known backbone.{nearest(name, backbone_names())}"
        )
    torch.manual_seed(0)  # frame_weights=random: the same ones each time
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
    """Side of the encoder's input images. Raises UserError for an unknown name."""
    if not is_backbone(name):
        raise UserError(
            f"model.frame_encoder={name} is not a known backbone.{nearest(name, backbone_names())}"
        )
    return get_backbone(name).input_size_px


def _find_weights(name: str, file: str | None) -> Mapping[str, Tensor]:
    if file is not None:
        return _read_weights(Path(file))
    backbone = get_backbone(name)
    if backbone.weights_package is not None:
        package, class_name = backbone.weights_package
        return _read_weights(
            # the package ships the file: nothing is downloaded
            Path(getattr(import_module(package), class_name).get_model_file_path())
        )
    if not backbone.torchvision_weights:
        raise UserError(f"{name} comes without weights; give a file with model.frame_weights=FILE")
    from torchvision.models import get_model_weights  # slow to import

    try:
        weights: Mapping[str, Tensor] = get_model_weights(name).DEFAULT.get_state_dict()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {name} could not be downloaded ({error}); give a file with "
            f"model.frame_weights=FILE, or use efficientnet_lite2, whose weights are installed"
        ) from error
    return weights


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from .safetensors or .pth. Raises UserError if it is not one."""
    if not path.is_file():
        raise UserError(f"the weights file {path} does not exist (model.frame_weights)")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: unpickling could run code
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch appends paragraphs of advice
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable weights file: {first}") from error
    # training checkpoints wrap the state dict
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no state dict of tensors")
    return state


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Hash of the names, shapes, dtypes and values of the tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):  # the digest must not depend on the order of the file
        values = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}{values.shape}{values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def encoder_source(settings: ModelSettings, side_px: int) -> EncoderSource:
    """The frame encoder of the settings, with the digest of its weights. Raises UserError."""
    encoder = load_frame_encoder(settings)
    return EncoderSource(
        encoder.name, weights_digest(encoder.state_dict()), encoder.n_features,
        (3, side_px, side_px), lambda: encoder,
    )  # fmt: skip
