"""Which layers of a converted encoder stay in float32 when it runs in bfloat16.

A CNN's first layers have few channels, and what bfloat16 rounds off there every later layer builds
on. With the first quarter of its convolutions in float32, EfficientNet-Lite2's features are off by
half as much as with none, of photographs (benchmarks/tried.py), and by a ninth as much of frames
that differ little, a sky with something small in it; that costs a quarter of the time gained.

The frame encoder in OpenVINO: converted once, kept, run one frame per core. The only module
that touches OpenVINO.

Every stream has one thread, so a frame's numbers do not depend on how many run, and cores do not
wait for each other.
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
from models.backbones import get_backbone, is_backbone
from pipeline.errors import UserError
from pipeline.features.backend import Backend
from pipeline.features.batch_encoder import Done, EncoderSource, InputArray, padded

_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def mixed_precision(description: bytes, float32_share: float = 0.25) -> bytes:
    """OpenVINO's description of a CNN (.xml), the first layers marked to be kept in float32.

    They lie in the file in the order in which they are computed. What comes before the CNN, such as
    making pictures of sound, is among them.
    """
    root = ElementTree.fromstring(description)  # noqa: S314  what OpenVINO has just written
    layers = root.findall("./layers/layer")
    convolutions = [i for i, layer in enumerate(layers) if _convolves_pictures(layer)]
    if not convolutions:
        return description
    end = convolutions[int(float32_share * len(convolutions))]
    for layer in layers[:end]:
        if layer.get("type") not in ("Const", "Parameter"):
            _keep_float32(layer)
    return ElementTree.tostring(root)


def _convolves_pictures(layer: ElementTree.Element) -> bool:
    """Whether it is one of the CNN's: these give [N, C, H, W], those over samples [N, C, S]."""
    dimensions = layer.findall("./output/port/dim")
    return layer.get("type") in _CONVOLUTIONS and len(dimensions) == 4


def _keep_float32(layer: ElementTree.Element) -> None:
    """The attribute by which OpenVINO's plugins leave a layer's precision alone."""
    notes = layer.find("rt_info")
    if notes is None:
        notes = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, notes)
    ElementTree.SubElement(notes, "attribute", name="precise", version="0")


_OPEN: weakref.WeakSet[OpenVinoEncoder] = weakref.WeakSet()
_ABANDONED_AFTER_S = 3600.0
_SHAPING = (
    "models.backbones.efficientnet_lite", "models.backbones.efficientnet_lite_trunk",
    "models.backbones.torchvision_models", "models.backbones.frame_encoder",
    "models.audio.spectrogram_images", "models.audio.front_end", "models.settings",
    "pipeline.features.openvino_encoder",
)  # fmt: skip
_PRECISION = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEncoder:
    """A BatchEncoder on the processor; see `pipeline.features.batch_encoder`."""

    def __init__(self, source: EncoderSource, backend: Backend, batch: int, threads: int) -> None:
        """threads: cores to use."""
        import openvino

        self.batch, self.n_features = batch, source.n_features
        self.identity = source.identity(backend)
        core = openvino.Core()
        model = _kept_model(core, source)
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
        self._requests = openvino.AsyncInferQueue(compiled, threads + 1)
        self._requests.set_callback(_on_result)
        _OPEN.add(self)

    def submit(self, inputs: Sequence[InputArray], done: Done) -> None:
        """Blocks while all streams are busy and one more batch waits."""
        given = padded(inputs, self.batch)
        self._requests.start_async([given], (done, len(inputs)))

    def wait(self) -> None:
        self._requests.wait_all()


@atexit.register
def _wait_for_open_encoders() -> None:
    """A frame's thread that comes back to an interpreter that is gone would abort the process."""
    for encoder in list(_OPEN):
        with suppress(RuntimeError):  # of a frame that failed; the error that ends us was told
            encoder.wait()


def _on_result(request: Any, to: tuple[Done, int]) -> None:
    done, count = to
    done(request.get_output_tensor(0).data[:count].astype(np.float16))


def cache_folder() -> Path:
    """Where converted encoders are kept: $FRAMEWAVE_CACHE, or the user's cache folder."""
    own = os.environ.get("FRAMEWAVE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "framewave"


def kept_path(source: EncoderSource) -> Path:
    """The file of a converted encoder: its name says what it was made from, and by what."""
    made_by = f"{version('openvino')} {version('torch')} {source.name} {_own_code()}"
    if source.variant:
        made_by += f" {source.variant} {version('torchaudio')}"
    made_by = hashlib.sha256(made_by.encode()).hexdigest()[:8]
    return cache_folder() / f"{source.name}-{source.weights_digest}-{made_by}.xml"


def _own_code() -> str:
    """Digest of what wraps the CNN, say its normalisation, and marks its layers; importing it all
    would load torch."""
    digest = hashlib.sha256()
    for name in _SHAPING:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()


def _kept_model(core: Any, source: EncoderSource) -> Any:
    """The converted encoder, from its file where that is whole; else made, and kept if possible."""
    path: Path | None = None
    with suppress(OSError, RuntimeError):  # no home, no access, damaged: it is made anew
        path = kept_path(source)
        if path.exists() and _seal_of(path) == path.with_suffix(".sha256").read_text():
            return core.read_model(path)
    description, weights = _converted(source)
    if path is not None:
        _keep(description, weights, path)
    return core.read_model(description, weights)


def _seal_of(path: Path) -> str:
    return _seal(path.read_bytes(), path.with_suffix(".bin").read_bytes())


def _seal(description: bytes, weights: bytes) -> str:
    """Digest of both files, by which damage is noticed that parsing would not."""
    return hashlib.sha256(description + weights).hexdigest()


def _converted(source: EncoderSource) -> tuple[bytes, bytes]:
    """The encoder as OpenVINO writes it, its .xml and its .bin, with the layers marked that stay
    in float32 whatever the precision. Raises UserError where there is no room for it."""
    network = source.load().float().eval()
    try:
        return _written(network, source)
    except OSError as error:
        raise UserError(
            f"the CNN could not be converted in {gettempdir()}: {error}; let TMPDIR name a folder "
            "with 50 MB of room"
        ) from error


def _written(network: Any, source: EncoderSource) -> tuple[bytes, bytes]:
    import openvino
    import torch

    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # tracing's remarks on our own checks of shapes
        logging.getLogger("nncf").setLevel(logging.ERROR)
        example = torch.zeros(1, *source.input_shape, dtype=getattr(torch, source.kind))
        model = openvino.convert_model(network, example_input=example)
        path = Path(folder) / "encoder.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        share = get_backbone(source.name).float32_share if is_backbone(source.name) else 0.25
        description = mixed_precision(path.read_bytes(), share)
        return description, path.with_suffix(".bin").read_bytes()


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed amid saving left there."""
    for leftover in folder.glob(".*-*"):
        with suppress(OSError):  # another process's business by now
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_S:
                leftover.unlink()


def _keep(description: bytes, weights: bytes, path: Path) -> None:
    """Save beside and rename, the seal last; where that cannot be, it is converted each time."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        temporary.with_suffix(".bin").write_bytes(weights)
        temporary.write_bytes(description)
        for suffix in (".bin", ".xml"):
            temporary.with_suffix(suffix).replace(path.with_suffix(suffix))
        write_text_atomically(path.with_suffix(".sha256"), _seal(description, weights))
    except OSError:
        for suffix in (".bin", ".xml"):
            with suppress(OSError):
                temporary.with_suffix(suffix).unlink()
