"""Networks in OpenVINO for the benchmark scripts, without framewave's way of running them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import openvino

from pipeline.config import load_config
from pipeline.features.backend import resolve_backend
from pipeline.features.openvino_encoder import mixed_precision

HINTS = {"float32": "f32", "bfloat16": "bf16"}


def usual_precision() -> str:
    """What framewave's rule takes on this processor."""
    return resolve_backend(load_config(None, ["device=cpu"])).precision


def converted(module: Any, inputs: Any, mark: bool = True) -> Any:
    """OpenVINO's model of a torch module; mark: with the layers that framewave keeps in float32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        model = openvino.convert_model(module, example_input=inputs)
        openvino.save_model(model, path, compress_to_fp16=False)
        description, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    return openvino.Core().read_model(
        mixed_precision(description) if mark else description, weights
    )


def compiled(model: Any, precision: str, threads: int = 1, streams: int = 1) -> Any:
    """Ready to run on the processor. OpenVINO's own choice of precision differs by processor."""
    return openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": HINTS[precision],
    })  # fmt: skip
