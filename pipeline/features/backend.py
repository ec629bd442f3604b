"""Which library runs the frame encoder, where, and how precisely: a plain rule, no heavy imports.

1. `device` cuda, or auto where there is an NVIDIA GPU: torch on the GPU, under autocast.
2. Otherwise OpenVINO on the processor (4 to 7 times as fast per core as eager torch), and torch
   where OpenVINO is not installed.
3. float16 on a GPU. On a processor bfloat16 for EfficientNet-Lite in OpenVINO where there is AMX
   for it: nearly twice as fast, and the label of 1 in 602 clips changed (benchmarks/RESULTS.md), as
   the layers that `pipeline.features.openvino_encoder` names stay in float32. Else float32: other
   CNNs were not tried, and AVX512-BF16 without AMX was slower.

`classify.backend` and `classify.precision` force one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from models.backbones import get_backbone, is_backbone
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.storage.workspace import EncoderIdentity


_AMX = "amx_bf16"
_BF16_FLAGS = {"avx512_bf16", _AMX}
_FRAMES_PER_CALL = {"openvino-cpu": 1, "torch-cpu": 16, "torch-cuda": 64}


@dataclass(frozen=True)
class Backend:
    """What makes features of frames."""

    library: str
    """openvino or torch"""
    device: str
    """cpu or cuda"""
    precision: str
    """float32, float16 or bfloat16"""

    @property
    def name(self) -> str:
        """As records have it: openvino-cpu, torch-cpu, torch-cuda."""
        return f"{self.library}-{self.device}"

    @property
    def frames_per_call(self) -> int:
        """The size of a batch that is fastest: on a processor, one frame fills a core."""
        return _FRAMES_PER_CALL[self.name]

    def __str__(self) -> str:
        return f"{self.name} {self.precision} {version(self.library)}"


def resolve_backend(
    config: Config, encoder: str | None = None, begun: EncoderIdentity | None = None
) -> Backend:
    """The rule above. Raises UserError where something is forced that is not here.

    encoder: the CNN's name, where it is not the configured one. begun: what made the features that
    are to be continued; its precision is kept where this processor can.
    """
    settings, wish = config.classify, config.classify.backend
    device = resolve_device(config.device)
    if device == "cuda":
        if wish == "openvino":
            raise UserError("classify.backend=openvino runs on the processor; add device=cpu")
        precision = "float16" if settings.precision == "auto" else settings.precision
        return Backend("torch", "cuda", precision)
    has_openvino = importlib.util.find_spec("openvino") is not None
    if wish == "openvino" and not has_openvino:
        raise UserError("classify.backend=openvino, but the package openvino is not installed")
    library = "openvino" if has_openvino and wish != "torch" else "torch"
    if settings.precision == "bfloat16" and not has_bfloat16():
        raise UserError(
            "classify.precision=bfloat16, but this processor does not compute in it (no "
            "AVX512-BF16 or AMX), so it would be slower by far; use float32 or auto"
        )
    if settings.precision == "float16":
        raise UserError("classify.precision=float16 is for GPUs; use float32 or auto")
    if settings.precision != "auto":
        return Backend(library, "cpu", settings.precision)
    if begun is not None and begun.backend == f"{library}-cpu" and _can(begun.precision):
        return Backend(library, "cpu", begun.precision)
    is_fast = library == "openvino" and _AMX in _processor_flags()
    name = encoder or config.model.frame_encoder
    if is_fast and is_backbone(name) and get_backbone(name).runs_in_bfloat16:
        return Backend(library, "cpu", "bfloat16")
    return Backend(library, "cpu", "float32")


def _can(precision: str) -> bool:
    return precision == "float32" or (precision == "bfloat16" and has_bfloat16())


def resolve_device(device: str) -> str:
    """auto: the GPU where there is one. Raises UserError where cuda is asked for in vain."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"  # without the two seconds that asking torch takes
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("device=cuda, but torch finds no GPU here; use device=cpu or auto")
    return "cuda" if available else "cpu"


def _may_have_gpu() -> bool:
    """False where the kernel knows of no NVIDIA device (Linux); True where that cannot be told."""
    dev = Path("/dev")
    return not dev.is_dir() or any(dev.glob("nvidia[0-9]*")) or (dev / "dxg").exists()


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16, as Linux tells; elsewhere no."""
    return bool(_BF16_FLAGS & _processor_flags())


def _processor_flags() -> set[str]:
    """What Linux says the processor can do; nothing elsewhere."""
    try:
        return set(Path("/proc/cpuinfo").read_text("utf-8", "replace").split())
    except OSError:
        return set()
