"""inspect: what is in one file, and what the model would be given of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.clip import ClipChunk, ClipReport, ClipSource
from data_prep.media.probe import MediaInfo
from data_prep.process.protocol import DecodeJob, Failure, Job, ProbeJob
from data_prep.settings import ClipSettings, DecodeSettings
from pipeline.config import Config
from pipeline.decoding.decode_pool import DecodePool
from pipeline.errors import UserError

_SHEET_COLUMNS = 8
_CAPTION_PX = 14


def inspect_file(file: Path, run: Path | None, sheet: Path | None, config: Config) -> Iterator[str]:
    """Lines that describe the file; also writes the contact sheet. Raises UserError."""
    if not file.exists():
        raise UserError(f"{file} does not exist")
    if sheet is not None and sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"--sheet {sheet}: the picture's name must end in .png, .jpg or .webp")
    clip = _clip_settings(run, config)
    source = ClipSource("inspected", str(file.absolute()))
    settings = DecodeSettings(clip, config.limits)
    jobs: list[Job] = [
        ProbeJob(source.path, config.limits, clip.raw_frame_rate_hz),
        DecodeJob(source, settings),
    ]
    chunks: list[ClipChunk] = []
    report: ClipReport | Failure | None = None
    with DecodePool(1) as pool:
        for job, message in pool.run(jobs):
            if isinstance(message, MediaInfo):
                yield from _streams(message)
            elif isinstance(message, ClipChunk):
                chunks.append(message)
            elif isinstance(job, DecodeJob) and isinstance(message, ClipReport | Failure):
                report = message
    if report is None or isinstance(report, Failure):
        assert report is not None
        yield f"status: {report.status} ({report.reason})"
        return
    yield f"status: {report.status}" + (f" ({report.reason})" if report.reason else "")
    yield (
        f"clip: {report.duration_s:.2f} s, {report.n_steps} steps of {clip.step_s:g} s, frames "
        f"{clip.frame_size_px} px, sound {clip.file_audio_rate_hz} Hz"
    )
    if report.frame_way:
        promise = f"at most {clip.tolerance_s:g} s from the wanted time"
        if clip.tolerance_s == 0:
            promise = (
                "exactly the ones shown at the wanted times (which are moved into the picture "
                "where it begins or ends within a step)"
            )
        yield f"frames: {promise} (clip.frame_tolerance_s), read by: {report.frame_way}"
        if report.plan_broken:
            yield f"  (a cheaper way was given up: {report.plan_broken})"
    yield from _steps(chunks, clip)
    if sheet is not None:
        contact_sheet(chunks).save(sheet)
        yield f"contact sheet: {sheet}"


def contact_sheet(chunks: list[ClipChunk]) -> Image.Image:
    """All frames with their times; a step without picture is an empty cell."""
    side = chunks[0].frames.shape[2]
    steps = sum(chunk.n_steps for chunk in chunks)
    rows = -(-steps // _SHEET_COLUMNS)
    image = Image.new("RGB", (_SHEET_COLUMNS * side, rows * (side + _CAPTION_PX)), "white")
    draw = ImageDraw.Draw(image)
    step = 0
    for chunk in chunks:
        for t in range(chunk.n_steps):
            x = step % _SHEET_COLUMNS * side
            y = step // _SHEET_COLUMNS * (side + _CAPTION_PX)
            if chunk.has_picture[t]:
                image.paste(Image.fromarray(chunk.frames[t].transpose(1, 2, 0)), (x, y))
            time_s = chunk.frame_times_s[t]
            caption = "no picture" if np.isnan(time_s) else f"{time_s:.2f} s"
            draw.text((x + 2, y + side), caption, fill="black")
            step += 1
    return image


def _clip_settings(run: Path | None, config: Config) -> ClipSettings:
    if run is not None:
        from pipeline.checkpoints.checkpoint import load_model

        return load_model(run).card.clip
    return config.clip.sized()


def _streams(info: MediaInfo) -> Iterator[str]:
    duration = "unknown length" if info.duration_s is None else f"{info.duration_s:.2f} s"
    yield f"container: {info.container}, {duration}, time zero at {info.zero_s:.3f} s"
    if info.has_video:
        rate = "?" if info.frame_rate_hz is None else f"{info.frame_rate_hz:.3f}"
        width, height = info.display_size_px
        yield (
            f"picture: {info.video_codec}, {info.width_px}×{info.height_px} px coded, shown "
            f"{width}×{height} ({_turned(info)}), {rate} frames per second"
            + _which(info.n_video_tracks)
        )
    else:
        yield "picture: none"
    if info.has_audio:
        yield (
            f"sound: {info.audio_codec}, {info.audio_rate_hz} Hz, {info.audio_channels} channels"
            + _which(info.n_audio_tracks)
        )
    else:
        yield "sound: none"


def _turned(info: MediaInfo) -> str:
    flipped = " and flipped left to right" if info.mirrored else ""
    return f"turned by {info.rotation_deg}°{flipped}"


def _which(n_tracks: int) -> str:
    return f"; the default one of {n_tracks} tracks" if n_tracks > 1 else ""


def _steps(chunks: list[ClipChunk], clip: ClipSettings) -> Iterator[str]:
    yield "step   wanted s   frame s   sound level"
    step = 0
    for chunk in chunks:
        waves = chunk.samples.reshape(chunk.n_steps, -1).astype(np.float64)
        for t in range(chunk.n_steps):
            time_s = chunk.frame_times_s[t]
            picture = "no picture" if np.isnan(time_s) else f"{time_s:9.3f}"
            level = "no sound"
            if chunk.has_sound[t]:
                power = float(np.mean(waves[t] ** 2))
                level = "silence" if power == 0 else f"{10 * np.log10(power):.1f} dB"
            yield f"{step:4d}  {(step + 0.5) * clip.step_s:9.3f}  {picture}   {level}"
            step += 1
