"""What else was tried to make the CNN cheaper on a processor: PYTHONPATH=. python benchmarks/studies/tried.py [encoder]

Milliseconds of both cores per frame (wall clock), and how far the features are from torch's in
float32, as a share of what tells the frames apart: OpenVINO with several batch sizes and streams,
in bfloat16, whole and with its first layers in float32; torch as it is, channels last, with freed
memory kept, in bfloat16; int8 by nncf where that is installed (`pip install nncf`); and smaller
pictures. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openvino
import torch
from skimage import data as photographs

from benchmarks.studies.networks import compiled, converted
from models.backbones import get_backbone
from models.settings import ModelSettings
from pipeline.features.backend import has_bfloat16
from pipeline.features.encoder_weights import load_frame_encoder
from pipeline.features.torch_encoder import keep_freed_memory

FRAMES = 16


def wall_ms(work: Callable[[], object]) -> float:
    """Least wall-clock milliseconds per frame of three runs after one that is not counted."""
    work()
    took = []
    for _ in range(3):
        begun_s = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun_s)
    return round(1000 * min(took) / FRAMES, 2)


def pictures(side_px: int) -> torch.Tensor:
    """uint8 [FRAMES, C, side, side]: parts of photographs."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(FRAMES):
        photograph = (photographs.chelsea, photographs.coffee, photographs.astronaut)[number % 3]()
        y, x = (rng.integers(0, size - side_px) for size in photograph.shape[:2])
        found.append(photograph[y : y + side_px, x : x + side_px].transpose(2, 0, 1))
    return torch.from_numpy(np.ascontiguousarray(np.stack(found)))


def off(found: Any, expected: Any) -> float:
    """Error as a share of what tells the frames apart: both norms, the latter around the mean."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    spread = np.linalg.norm(expected - expected.mean(axis=0))
    return round(float(np.linalg.norm(found - expected) / spread), 4)


def in_openvino(
    model: Any, given: Any, batch: int, streams: int, threads: int, precision: str = "float32"
) -> Any:
    """(a function that encodes all frames, their features)."""
    model.reshape([batch, *given.shape[1:]])
    network = compiled(model, precision, threads, streams)
    requests = openvino.AsyncInferQueue(network, streams + 1)
    features: dict[int, Any] = {}
    requests.set_callback(
        lambda request, place: features.__setitem__(place, request.get_output_tensor(0).data.copy())
    )

    def work() -> None:
        for start in range(0, FRAMES, batch):
            requests.start_async([given[start : start + batch]], start)
        requests.wait_all()

    work()
    return work, np.concatenate([features[k] for k in sorted(features)])


def ways(name: str) -> Iterator[tuple[str, float, float]]:
    """(what, ms per frame, error)."""
    encoder = load_frame_encoder(ModelSettings(frame_encoder=name))
    frames = pictures(get_backbone(name).input_size_px)
    with torch.inference_mode():
        expected = encoder(frames).numpy()
        yield (
            "torch, as it comes",
            wall_ms(lambda: encoder.trunk((frames.float() - encoder.mean) / encoder.std)),
            0.0,
        )
    model = converted(encoder, frames)
    given = frames.numpy()
    for batch, streams, threads in ((1, 2, 2), (2, 2, 2), (4, 2, 2), (16, 2, 2), (1, 1, 2),
                                    (8, 1, 2), (1, 2, 4), (1, 4, 4)):  # fmt: skip
        work, features = in_openvino(model, given, batch, streams, threads)
        what = f"OpenVINO, batch {batch}, {streams} streams on {threads} threads"
        yield what, wall_ms(work), off(features, expected)
    if has_bfloat16():
        for mark, what in ((False, "whole"), (True, "its first layers in float32")):
            in_16_bits = converted(encoder, frames, mark)
            work, features = in_openvino(in_16_bits, given, 1, 2, 2, "bfloat16")
            yield f"OpenVINO, bfloat16, {what}", wall_ms(work), off(features, expected)
    yield from _int8(model, given, expected)
    smaller = pictures(224)
    work, _ = in_openvino(model, smaller.numpy(), 1, 2, 2)
    yield "OpenVINO, pictures of 224 px", wall_ms(work), float("nan")
    keep_freed_memory()
    last = encoder.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        yield "torch, channels last, freed memory kept", wall_ms(lambda: last(frames)), 0.0
        with torch.autocast("cpu", torch.bfloat16):
            features = last(frames).float().numpy()
            what = "torch, bfloat16"
            yield what, wall_ms(lambda: last(frames)), off(features, expected)


def _int8(model: Any, given: Any, expected: Any) -> Iterator[tuple[str, float, float]]:
    try:
        import nncf
    except ImportError:
        return
    model.reshape([1, *given.shape[1:]])
    quantised = nncf.quantize(model, nncf.Dataset([frame[None] for frame in given]))
    work, features = in_openvino(quantised, given, 1, 2, 2)
    yield "OpenVINO, int8 by nncf", wall_ms(work), off(features, expected)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "efficientnet_lite2"
    found = []
    for what, ms, error in ways(name):
        found.append({"what": what, "ms": ms, "error": None if error != error else error})
        print(found[-1], file=sys.stderr, flush=True)
    print(json.dumps({name: found}))


if __name__ == "__main__":
    main()
