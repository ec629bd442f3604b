"""Choice of library, device and precision for the frame encoder, without heavy imports.

1. Device cuda, or auto with an NVIDIA GPU: torch on the GPU, under autocast.
2. Otherwise OpenVINO on the CPU (4 to 7 times as fast per core as eager torch), or torch if
   OpenVINO is not installed.
3. float16 on a GPU. On a CPU with AMX, bfloat16 for EfficientNet-Lite in OpenVINO: nearly twice as
   fast, and the label of 1 in 602 clips changed (benchmarks/RESULTS.md), since the layers chosen by
   `pipeline.features.openvino_encoder` stay in float32. Otherwise float32: other CNNs were not
   tested, and AVX512-BF16 without AMX was slower.

`classify.backend` and `classify.precision` override this.
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
# OpenVINO runs one frame per core at a time, and one frame already fills a core
_FRAMES_PER_CALL = {"openvino-cpu": 1, "torch-cpu": 16, "torch-cuda": 64}


@dataclass(frozen=True)
class Backend:
    """Library, device and precision of an encoder."""

    library: str  # openvino or torch
    device: str  # cpu or cuda
    precision: str  # float32, float16 or bfloat16

    @property
    def name(self) -> str:
        """Name in records: openvino-cpu, torch-cpu or torch-cuda."""
        return f"{self.library}-{self.device}"

    @property
    def frames_per_call(self) -> int:
        """The fastest batch size."""
        return _FRAMES_PER_CALL[self.name]

    def __str__(self) -> str:
        return f"{self.name} {self.precision} {version(self.library)}"


def resolve_backend(
    config: Config, encoder: str | None = None, stored: EncoderIdentity | None = None
) -> Backend:
    """Choose the backend by the rules above. Raises UserError if an override is not available.

    encoder: name of the CNN if it is not the configured one. stored: encoder of existing features
    that are to be continued; its precision is kept if this CPU supports it.
    """
    settings, requested = config.classify, config.classify.backend
    device = resolve_device(config.device)
    if device == "cuda":
        if requested == "openvino":
            raise UserError("classify.backend=openvino runs on the CPU; add device=cpu")
        precision = "float16" if settings.precision == "auto" else settings.precision
        return Backend("torch", "cuda", precision)
    has_openvino = importlib.util.find_spec("openvino") is not None
    if requested == "openvino" and not has_openvino:
        raise UserError("classify.backend=openvino, but the package openvino is not installed")
    library = "openvino" if has_openvino and requested != "torch" else "torch"
    if settings.precision == "bfloat16" and not has_bfloat16():
        raise UserError(
            "classify.precision=bfloat16, but this CPU does not support it (no AVX512-BF16 "
            "or AMX), so it would be much slower; use float32 or auto"
        )
    if settings.precision == "float16":
        raise UserError("classify.precision=float16 is for GPUs; use float32 or auto")
    if settings.precision != "auto":
        return Backend(library, "cpu", settings.precision)
    # features of one folder should have one precision
    if stored is not None and stored.backend == f"{library}-cpu" and _supports(stored.precision):
        return Backend(library, "cpu", stored.precision)
    is_fast = library == "openvino" and _AMX in _processor_flags()
    name = encoder or config.model.frame_encoder
    if is_fast and is_backbone(name) and get_backbone(name).runs_in_bfloat16:
        return Backend(library, "cpu", "bfloat16")
    return Backend(library, "cpu", "float32")


def _supports(precision: str) -> bool:
    return precision == "float32" or (precision == "bfloat16" and has_bfloat16())


def resolve_device(device: str) -> str:
    """cpu or cuda; auto: the GPU if there is one. Raises UserError if cuda is not available."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"  # saves the two seconds of importing torch
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("device=cuda, but torch finds no GPU here; use device=cpu or auto")
    return "cuda" if available else "cpu"


def _may_have_gpu() -> bool:
    """False if the Linux kernel lists no NVIDIA device; True on other systems."""
    dev = Path("/dev")
    # dxg is the GPU inside WSL
    return not dev.is_dir() or any(dev.glob("nvidia[0-9]*")) or (dev / "dxg").exists()


def has_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions, according to Linux; False on other systems."""
    return bool(_BF16_FLAGS & _processor_flags())


def _processor_flags() -> set[str]:
    """Words of /proc/cpuinfo, among them the CPU flags; empty on other systems than Linux."""
    try:
        return set(Path("/proc/cpuinfo").read_text("utf-8", "replace").split())
    except OSError:
        return set()
