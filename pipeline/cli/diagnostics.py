"""The commands `inspect` (what is in one file) and `doctor` (what works on this machine)."""

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
from PIL import Image, ImageDraw

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary, UInt8Array
from data_prep.media.probe import MediaInfo
from data_prep.media.pyav_media import ClipWriter
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.sampling import evenly
from data_prep.worker.protocol import DecodeJob, Failure, Job, ProbeJob
from pipeline.checkpoints.model_card import read_description
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.errors import UserError
from pipeline.features.backend import resolve_backend
from pipeline.features.batch_encoder import encode_now
from pipeline.features.decode_pool import DecodePool
from pipeline.features.feature_extractor import open_encoder
from pipeline.text_format import counted

MOST_ON_SHEET = 96
_SHEET_COLUMNS = 8
_CAPTION_PX = 14


def inspect_file(file: Path, run: Path | None, sheet: Path | None, config: Config) -> Iterator[str]:
    """Lines that describe the file; also writes the contact sheet.

    run: take the clip settings of this trained run. Raises UserError for a wrong path or name.
    """
    if not file.exists():
        raise UserError(f"{file} does not exist")
    if file.is_dir():
        raise UserError(f"{file} is a folder; inspect takes one file, use scan for a folder")
    if sheet is not None and sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"--sheet {sheet}: the file name must end in .png, .jpg or .webp")
    clip = _clip_settings(run, config)
    source = ClipSource("inspected", str(file.absolute()))  # any id: nothing is stored
    steps: list[_Step] = []
    frames = _Thinned(MOST_ON_SHEET) if sheet is not None else None
    report: DecodeSummary | Failure | None = None
    with DecodePool(1) as pool:  # decoded in another process: a broken file may crash its decoder
        probe: Job = ProbeJob(source.path, config.limits, clip.raw_frame_rate_hz)
        for _, message in pool.run([probe]):
            if isinstance(message, MediaInfo):
                # frame_rate_hz=auto depends on the length of the file
                clip = clip.with_frame_rate([message.duration_s] if message.duration_s else [])
                yield from _streams(message)
        decode: Job = DecodeJob(source, DecodeSettings(clip, config.limits))
        for _, message in pool.run([decode]):
            if isinstance(message, ClipChunk):
                steps += _steps_of(message)
                if frames is not None:
                    frames.take(message)
            elif isinstance(message, DecodeSummary | Failure):
                report = message
    if report is None or isinstance(report, Failure):
        assert report is not None  # every job ends with a summary or a failure
        yield f"status: {report.status} ({report.reason})"
        return
    yield f"status: {report.status}" + (f" ({report.reason})" if report.reason else "")
    yield (
        f"clip: {report.duration_s:.2f} s, {report.n_steps} steps of {clip.step_s:g} s, frames "
        f"{clip.frame_size_px} px, sound {clip.file_audio_rate_hz} Hz"
    )
    if report.decode_strategy:
        precision = f"at most {clip.tolerance_s:g} s from the target time"
        if clip.tolerance_s == 0:
            precision = (
                "exactly those displayed at the target times (moved into the video if it begins "
                "or ends within a step)"
            )
        yield f"frames: {precision} (clip.frame_tolerance_s), read by: {report.decode_strategy}"
        if report.fallback_reason:
            yield f"  (a faster strategy was abandoned: {report.fallback_reason})"
    yield from _step_lines(steps, clip)
    if sheet is not None and frames is not None:
        contact_sheet(frames.kept()).save(sheet)
        yield f"contact sheet: {sheet}"


@dataclass(frozen=True)
class _Step:
    """Facts about one time step; power: mean square of its samples, None without sound."""

    frame_time_s: float
    power: float | None


def _steps_of(chunk: ClipChunk) -> list[_Step]:
    waves = chunk.samples.reshape(chunk.n_steps, -1).astype(np.float64)  # [T, S]
    return [
        _Step(
            float(chunk.frame_times_s[t]),
            float(np.mean(waves[t] ** 2)) if chunk.audio_mask[t] else None,
        )
        for t in range(chunk.n_steps)
    ]


class _Thinned:
    """Keeps an evenly spaced subset of a stream of frames; memory does not grow with its length."""

    def __init__(self, most: int) -> None:
        self._most, self._every, self._n = most, 1, 0
        self._frames: list[tuple[float, UInt8Array]] = []

    def take(self, chunk: ClipChunk) -> None:
        """Keep every n-th frame [C, H, W]; n doubles whenever twice the limit is reached."""
        for t in range(chunk.n_steps):
            if self._n % self._every == 0:
                # a copy: the chunk's memory is reused
                self._frames.append((float(chunk.frame_times_s[t]), chunk.frames[t].copy()))
            self._n += 1
            if len(self._frames) > 2 * self._most:  # between one and two times the limit is held
                self._frames, self._every = self._frames[::2], 2 * self._every

    def kept(self) -> list[tuple[float, UInt8Array]]:
        return [self._frames[k] for k in evenly(len(self._frames), self._most)]


def contact_sheet(frames: list[tuple[float, UInt8Array]]) -> Image.Image:
    """One image of all frames. frames: (time in s, uint8 [C, H, W]); time NaN leaves a blank."""
    side = frames[0][1].shape[1]
    rows = -(-len(frames) // _SHEET_COLUMNS)  # rounded up
    image = Image.new("RGB", (_SHEET_COLUMNS * side, rows * (side + _CAPTION_PX)), "white")
    draw = ImageDraw.Draw(image)
    for number, (time_s, frame) in enumerate(frames):
        x = number % _SHEET_COLUMNS * side
        y = number // _SHEET_COLUMNS * (side + _CAPTION_PX)
        if not np.isnan(time_s):
            image.paste(Image.fromarray(frame.transpose(1, 2, 0)), (x, y))
        caption = "no picture" if np.isnan(time_s) else f"{time_s:.2f} s"
        draw.text((x + 2, y + side), caption, fill="black")
    return image


def _clip_settings(run: Path | None, config: Config) -> ClipSettings:
    if run is not None:
        return read_description(run).card.clip
    return config.clip.sized()


def _streams(info: MediaInfo) -> Iterator[str]:
    duration = "unknown length" if info.duration_s is None else f"{info.duration_s:.2f} s"
    yield f"container: {info.container}, {duration}, time zero at {info.zero_s:.3f} s"
    if info.has_video:
        rate = "?" if info.frame_rate_hz is None else f"{info.frame_rate_hz:.3f}"
        width, height = info.display_size_px
        yield (
            f"picture: {info.video_codec}, {info.width_px}×{info.height_px} px coded, shown "
            f"{width}×{height} ({_rotation(info)}), {rate} frames per second"
            + _track_note(info.n_video_tracks)
        )
    else:
        yield "picture: none"
    if info.has_audio:
        yield (
            f"sound: {info.audio_codec}, {info.audio_rate_hz} Hz, "
            + counted(info.audio_channels or 0, "channel")
            + _track_note(info.n_audio_tracks)
        )
    else:
        yield "sound: none"


def _rotation(info: MediaInfo) -> str:
    flipped = " and flipped left to right" if info.mirrored else ""
    return f"rotated by {info.rotation_deg}°{flipped}"


def _track_note(n_tracks: int) -> str:
    return f"; the default of {n_tracks} tracks" if n_tracks > 1 else ""


def _step_lines(steps: list[_Step], clip: ClipSettings) -> Iterator[str]:
    yield "step   target s   frame s   sound level"
    for number, step in enumerate(steps):
        picture = "no picture" if np.isnan(step.frame_time_s) else f"{step.frame_time_s:9.3f}"
        level = "no sound"
        if step.power is not None:
            # log of 0
            level = "silence" if step.power == 0 else f"{10 * np.log10(step.power):.1f} dB"
        # the target time is the middle of the step
        yield f"{number:4d}  {(number + 0.5) * clip.step_s:9.3f}  {picture}   {level}"


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool
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
    # expected: decord2 replaces decord under the same import name
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
