"""Frame encoder in OpenVINO: converted once, cached on disk, one frame per core.

Every inference stream has one thread, so that the features do not depend on the number of streams,
and cores do not wait for each other. This is the only module that imports OpenVINO.

In bfloat16 the first quarter of the convolutions stays in float32: these layers have few channels,
and all later layers build on their rounding errors. The error of EfficientNet-Lite2's features is
then half as large on photographs (benchmarks/studies/tried.py), and a ninth on frames that differ
little, such as a sky with something small in it. This gives up a quarter of the speed-up.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import logging
import os
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from xml.etree import ElementTree

import numpy as np

from data_prep.files import write_text_atomically
from models.backbones import MODULES as BACKBONE_MODULES
from models.backbones import get_backbone, is_backbone
from pipeline.cores import count_cores, in_background
from pipeline.errors import UserError
from pipeline.features.backend import Backend
from pipeline.features.batch_encoder import Done, EncoderSource, InputArray, padded

_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def mixed_precision(description: bytes, float32_share: float = 0.25) -> bytes:
    """Mark the first layers in an OpenVINO model description (.xml) to be kept in float32.

    These include everything before the CNN, such as the computation of spectrograms.
    """
    root = ElementTree.fromstring(description)  # noqa: S314  OpenVINO has just written it
    layers = root.findall("./layers/layer")  # in order of computation
    convolutions = [i for i, layer in enumerate(layers) if _is_cnn_convolution(layer)]
    if not convolutions:
        return description
    end = convolutions[int(float32_share * len(convolutions))]
    for layer in layers[:end]:
        if layer.get("type") not in ("Const", "Parameter"):  # they compute nothing
            _mark_float32(layer)
    return ElementTree.tostring(root)


def _is_cnn_convolution(layer: ElementTree.Element) -> bool:
    """Whether a layer is a convolution of the CNN."""
    # output [N, C, H, W]; the convolutions of the spectrogram have [N, C, S]
    dimensions = layer.findall("./output/port/dim")
    return layer.get("type") in _CONVOLUTIONS and len(dimensions) == 4


def _mark_float32(layer: ElementTree.Element) -> None:
    """Set the attribute that makes OpenVINO's plugins preserve a layer's precision."""
    rt_info = layer.find("rt_info")
    if rt_info is None:
        rt_info = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, rt_info)  # the schema's order
    ElementTree.SubElement(rt_info, "attribute", name="precise", version="0")


_OPEN_ENCODERS: weakref.WeakSet[OpenVinoEncoder] = weakref.WeakSet()
_ABANDONED_AFTER_S = 3600.0
# the code that the converted model depends on: a change makes the cached file stale
_HASHED_MODULES = (
    *(f"models.backbones.{name}" for name in (*BACKBONE_MODULES, "base", "frame_encoder")),
    "models.audio.spectrogram_images", "models.audio.front_end", "models.settings",
    "pipeline.features.openvino_encoder",
)  # fmt: skip
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEncoder:
    """A BatchEncoder on the CPU; see `pipeline.features.batch_encoder`."""

    def __init__(self, source: EncoderSource, backend: Backend, batch: int, threads: int) -> None:
        """threads: number of cores to use.

        Raises UserError if the number of features is not source.n_features, or if the encoder
        cannot be converted.
        """
        import openvino  # slow, and an optional dependency

        self.batch, self.n_features = batch, source.n_features
        self.identity = source.identity(backend)
        core = openvino.Core()
        model = _load_or_convert(core, source)
        model.reshape([batch, *source.input_shape])
        compiled = core.compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "INFERENCE_PRECISION_HINT": _PRECISION[backend.precision],
            "ENABLE_CPU_PINNING": False,  # decoders run on the same cores
        })  # fmt: skip
        width = compiled.output(0).shape[1]
        if width != source.n_features:
            raise UserError(
                f"{source.name} gives {width} features, the model was made for {source.n_features}"
            )
        self._requests = openvino.AsyncInferQueue(compiled, threads + 1)  # one waits, none idles
        self._requests.set_callback(_on_result)
        _OPEN_ENCODERS.add(self)

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        """Start encoding; blocks while all streams are busy and one more batch waits."""
        batch = padded(inputs, self.batch)
        self._requests.start_async([batch], (done, len(inputs)))

    def wait(self) -> None:
        """Block until `done` was called for every batch submitted."""
        self._requests.wait_all()


@atexit.register
def _wait_for_open_encoders() -> None:
    """Wait for pending batches: a callback after the interpreter's end aborts the process."""
    for encoder in list(_OPEN_ENCODERS):
        with suppress(RuntimeError):  # a batch failed; the error was raised elsewhere before
            encoder.wait()


def _on_result(request: Any, user_data: tuple[Done, int]) -> None:
    done, count = user_data
    # astype copies: the tensor is overwritten by the next request
    done(request.get_output_tensor(0).data[:count].astype(np.float16))


def cache_folder() -> Path:
    """Folder of converted encoders: $FRAMEWAVE_CACHE, or framewave in the user's cache folder."""
    configured = os.environ.get("FRAMEWAVE_CACHE")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "framewave"


def cache_path(source: EncoderSource) -> Path:
    """Cache file of a converted encoder, named by everything that it depends on."""
    versions = f"{version('openvino')} {version('torch')} {source.name} {_own_code()}"
    if source.variant:
        versions += f" {source.variant} {version('torchaudio')}"
    versions = hashlib.sha256(versions.encode()).hexdigest()[:8]
    return cache_folder() / f"{source.name}-{source.weights_digest}-{versions}.xml"


def _own_code() -> str:
    """Digest of our code around the CNN, such as its normalisation, and of this module."""
    digest = hashlib.sha256()
    for name in _HASHED_MODULES:
        spec = importlib.util.find_spec(name)  # importing the modules would load torch
        assert spec is not None
        assert spec.origin is not None
        digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()


def _load_or_convert(core: Any, source: EncoderSource) -> Any:
    """The converted encoder from the cache; otherwise convert it, and cache it if possible."""
    path: Path | None = None
    with suppress(OSError, RuntimeError):  # no home, no access, or damaged: it is converted again
        path = cache_path(source)
        if path.exists() and _digest_of(path) == path.with_suffix(".sha256").read_text():
            return core.read_model(path)
    description, weights = _convert(source)
    if path is not None:
        _save(description, weights, path)
    return core.read_model(description, weights)


def _digest_of(path: Path) -> str:
    return _digest(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _digest(description: bytes, weights: bytes) -> str:
    """Digest of both files, to detect damage that OpenVINO would read without an error."""
    return hashlib.sha256(description + weights).hexdigest()


def _convert(source: EncoderSource) -> tuple[bytes, bytes]:
    """Convert an encoder to OpenVINO's .xml and .bin, with the float32 layers marked.

    Raises UserError if the temporary folder is full.
    """
    network = source.load().float().eval()
    try:
        return _export(network, source)
    except OSError as error:
        raise UserError(
            f"the CNN could not be converted in {gettempdir()}: {error}; set TMPDIR to a folder "
            "with 50 MB of free space"
        ) from error


def _export(network: Any, source: EncoderSource) -> tuple[bytes, bytes]:
    import openvino
    import torch

    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the tracer warns about our shape checks
        logging.getLogger("nncf").setLevel(logging.ERROR)
        example = torch.zeros(1, *source.input_shape, dtype=getattr(torch, source.kind))
        model = openvino.convert_model(network, example_input=example)
        path = Path(folder) / "encoder.xml"
        openvino.save_model(model, path, compress_to_fp16=False)  # by default it rounds weights
        share = get_backbone(source.name).float32_share if is_backbone(source.name) else 0.25
        description = mixed_precision(path.read_bytes(), share)
        return description, path.with_suffix(".bin").read_bytes()


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes that were killed while saving."""
    for leftover in folder.glob(".*-*"):
        with suppress(OSError):  # another process has just removed or renamed it
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                leftover.unlink()


def _save(description: bytes, weights: bytes, path: Path) -> None:
    """Write the cached model by temporary files and renames; without effect if that fails."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary.with_suffix(".bin").write_bytes(weights)
        temporary.write_bytes(description)
        for suffix in (".bin", ".xml"):
            temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
        # last: the model is used only if the digest matches
        write_text_atomically(path.with_suffix(".sha256"), _digest(description, weights))
    except OSError:  # a full or read-only disk: the encoder is converted each time
        for suffix in (".bin", ".xml"):
            with suppress(OSError):
                temporary.with_suffix(suffix).unlink()


def open_encoder(
    source: EncoderSource, backend: Backend, batch: int, workers: int
) -> OpenVinoEncoder:
    """The encoder, opened by a thread of lower priority than decoding."""
    threads = min(count_cores(workers), count_cores())
    return in_background(lambda: OpenVinoEncoder(source, backend, batch, threads))
