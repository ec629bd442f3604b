"""The `doctor` command: check that everything framewave depends on works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary
from data_prep.media.pyav_media import ClipWriter
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.worker.protocol import DecodeJob
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.features.backend import resolve_backend
from pipeline.features.batch_encoder import encode_now
from pipeline.features.decode_pool import DecodePool
from pipeline.features.feature_extractor import open_encoder


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    well: bool
    finding: str


def examine(config: Config) -> Iterator[Check]:
    """Run all checks, in order; a failure is a result and does not stop the others."""
    yield Check("system", True, f"{platform.platform()}, Python {platform.python_version()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check(
        "machine", True, f"{count_cores()} cores, {memory:.0f} GB memory, {free:.0f} GB disk free"
    )
    yield _try("packages", _packages)
    yield _try("torch", _torch)
    yield _try("decoders", lambda: _decoders(config))
    yield _try("frame encoder", lambda: _encoder(config))
    yield _try("speed", lambda: _speed(config))


def _try(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:  # noqa: BLE001 - whatever is broken is the finding
        first = (str(error).splitlines() or [""])[0]
        return Check(name, False, f"{type(error).__name__}: {first}")


def _packages() -> str:
    names = ("framewave", "torch", "torchvision", "torchaudio", "av", "decord2", "openvino",
             "pyarrow")  # fmt: skip
    try:
        version("decord")
    # as it should be: decord2 replaces decord under the same import name
    except PackageNotFoundError:
        return ", ".join(f"{name} {version(name)}" for name in names)
    raise RuntimeError("decord and decord2 are both installed; `pip uninstall decord decord2`, "
                       "then install framewave again")  # fmt: skip


def _torch() -> str:
    import torch
    import torchaudio  # importing them is the check: mismatched builds fail here
    import torchvision

    assert torchaudio.__version__  # used, so that linters keep the imports
    assert torchvision.__version__
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.get_device_name(0)}"
    return f"no GPU; using the CPU, {torch.get_num_threads()} threads"


def _decoders(config: Config) -> str:
    """Write a small H.264 + AAC file and read it back in a decoding process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        picture = np.full((96, 128, 3), 200, np.uint8)
        tone = np.sin(np.arange(16_000) * 0.2).astype(np.float32) * 0.5
        with ClipWriter(path, (128, 96), Fraction(10), 16_000) as writer:
            for index in range(10):
                writer.add_frame(picture, index)
            writer.add_audio(tone)
        settings = DecodeSettings(ClipSettings(frame_size_px=64), config.limits)
        job = DecodeJob(ClipSource("check", str(path)), settings)
        with DecodePool(1) as pool:
            # the last message is the summary, or a failure
            *chunks, end = [message for _, message in pool.run([job])]
    if not isinstance(end, DecodeSummary):
        raise RuntimeError(f"an H.264 + AAC file just written cannot be read back: {end}")
    chunk = chunks[0]
    assert isinstance(chunk, ClipChunk)
    level = int(chunk.frames[0, :, 32, 32].mean())  # the centre of the first frame
    if abs(level - 200) > 4 or not chunk.audio_mask.all() or chunk.samples.std() < 0.03:
        raise RuntimeError(f"H.264 + AAC is decoded wrongly (grey 200 read as {level})")
    return f"H.264 and AAC written and read back (frames by {end.decode_strategy})"


def _encoder(config: Config) -> str:
    from pipeline.features.encoder_weights import load_frame_encoder, weights_digest

    encoder = load_frame_encoder(config.model)
    digest = weights_digest(encoder.state_dict())
    return f"{encoder.name}, weights {digest}, {encoder.n_features} features"


def _speed(config: Config) -> str:
    """Open the encoder as prep does and time a few frames."""
    from pipeline.features.encoder_weights import encoder_size_px, encoder_source

    backend = resolve_backend(config)
    side_px = config.clip.frame_size_px or encoder_size_px(config.model.frame_encoder)
    encoder = open_encoder(encoder_source(config.model, side_px), backend, config.classify)
    frames = [np.zeros((3, side_px, side_px), np.uint8)] * 16  # content does not change the speed
    encode_now(encoder, frames)
    # the first call above warmed the encoder up
    start_s = time.perf_counter()
    encode_now(encoder, frames)
    frame_ms = 1000 * (time.perf_counter() - start_s) / len(frames)
    return f"{backend}, {frame_ms:.1f} ms per frame of {side_px} px"
