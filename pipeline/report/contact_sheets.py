"""Contact sheets: a few frames of a clip, and its sound as a spectrogram."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.signal import spectrogram

from data_prep.clip import ClipChunk, Samples, UInt8Array
from data_prep.manifest import ManifestRow
from data_prep.settings import ClipSettings, DecodeSettings
from data_prep.video.resize import decode_jpeg
from data_prep.video.sampling import evenly
from data_prep.worker.protocol import DecodeJob
from pipeline.config import Config
from pipeline.features.decode_pool import DecodePool
from pipeline.reporter import ProgressReporter
from pipeline.training.training_data import PreparedData

FRAMES = 6  # of one sheet
PICTURES_BYTES = 12_000_000  # of all contact sheets of a page together
SIDE_PX = 480  # longer side of a frame
_QUALITY = 72  # of JPEGs; they are embedded in the page
# letterbox: the sheet shows the whole frame
_CLIP = ClipSettings(frame_size_px=SIDE_PX, frame_fit="letterbox")
_SOUND_PX = (960, 192)  # width and height of a spectrogram
_SHADES = (5, 99.8)  # percentiles of the level shown darkest and brightest
_MOST_SOUND_S = 600  # the rest of a longer clip is not shown, which bounds memory
_FLOOR_DB = -119.0  # digital silence is at −120 dB
_LEAST_RANGE_DB = 20.0  # so that faint noise does not look like a loud sound


@dataclass(frozen=True)
class Frame:
    """One sampled frame; data: its JPEG as a data: URL."""

    time_s: float
    data: str


@dataclass(frozen=True)
class Sheet:
    """Frames and spectrogram of one clip."""

    frames: list[Frame]
    sound: str
    """The spectrogram as a data: URL, "" if there is no sound."""
    sound_s: float
    sound_hz: float = 0.0
    """The highest frequency of the spectrogram; the lowest is 0."""

    @property
    def times(self) -> list[str]:
        """Times of the frames in seconds, with two decimals if one would make them equal."""
        short = [f"{frame.time_s:.1f}" for frame in self.frames]
        if len(set(short)) == len(short):
            return short
        return [f"{frame.time_s:.2f}" for frame in self.frames]

    @property
    def size_bytes(self) -> int:
        return len(self.sound) + sum(len(frame.data) for frame in self.frames)


def sheets(
    rows: Sequence[ManifestRow],
    prepared: PreparedData | None,
    config: Config,
    progress: ProgressReporter,
) -> dict[tuple[str, float | None, float | None], Sheet]:
    """{row key: sheet}, from the prepared work folder if it holds the clip, else from the file.

    Files that cannot be decoded have no sheet.
    """
    progress.start("contact sheets", len(rows))
    made: dict[tuple[str, float | None, float | None], Sheet] = {}
    # frames that prep stored are not decoded again
    for row, sheet in _from_store(rows, prepared):
        made[row.key] = sheet
        progress.advance(1)
    rest = [row for row in rows if row.key not in made]
    settings = DecodeSettings(_CLIP, config.limits)
    with DecodePool(config.classify.workers) as pool:
        jobs = (DecodeJob(row.source, settings) for row in rest)
        for row, chunks in zip(rest, pool.chunks(jobs), strict=True):
            from_file = _of_chunks(chunks)
            if from_file is not None:
                made[row.key] = from_file
            progress.advance(1, failed=from_file is None)
    progress.finish()
    return made


def _from_store(
    rows: Sequence[ManifestRow], prepared: PreparedData | None
) -> list[tuple[ManifestRow, Sheet]]:
    if prepared is None:
        return []
    known = {row.key: row.id for row in prepared.rows}
    wanted = {known[row.key]: row for row in rows if row.key in known}
    clip = prepared.record.clip
    found = []
    for recording in prepared.store.recordings(wanted):
        indices = evenly(len(recording.jpegs), FRAMES)
        frames = [
            Frame(recording.times_s[k], _jpeg(decode_jpeg(recording.jpegs[k]).transpose(1, 2, 0)))
            for k in indices
        ]
        found.append(
            (wanted[recording.id], _sheet(frames, recording.waveform, clip.file_audio_rate_hz))
        )
    return found


def _of_chunks(chunks: Iterable[ClipChunk]) -> Sheet | None:
    """None if there is no chunk. Frames are compressed as they arrive: a file may last hours."""
    frames: list[Frame] = []
    sound: list[Samples] = []
    for chunk in chunks:
        frames += [
            Frame(float(chunk.frame_times_s[t]), _jpeg(chunk.frames[t].transpose(1, 2, 0)))
            for t in np.flatnonzero(chunk.video_mask)
        ]
        # all chunks are read to the end for their frames, but not their sound
        if sum(map(len, sound)) < _MOST_SOUND_S * _CLIP.audio_rate_hz:
            sound.append(chunk.samples)
    if not sound:
        return None
    # chosen at the end, since the number of frames is only known then
    shown = [frames[k] for k in evenly(len(frames), FRAMES)]
    return _sheet(shown, np.concatenate(sound), _CLIP.audio_rate_hz)


def _sheet(frames: list[Frame], waveform: Samples, rate_hz: int) -> Sheet:
    waveform = waveform[: _MOST_SOUND_S * rate_hz]
    has_sound = bool(waveform.any())
    sound = _spectrogram(waveform, rate_hz) if has_sound else ""
    return Sheet(frames, sound, waveform.size / rate_hz if has_sound else 0.0, rate_hz / 2)


def _jpeg(picture: UInt8Array) -> str:
    """uint8 [H, W, C] → JPEG as a data: URL, at most SIDE_PX wide and high."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    return _address(image)


def _spectrogram(sound: Samples, rate_hz: int) -> str:
    """Log-power spectrogram up to rate_hz / 2 as a data: URL; low frequencies at the bottom."""
    hop = max(64, sound.size // (2 * _SOUND_PX[0]))  # about two columns per pixel of the picture
    window = min(512, sound.size)
    _, _, power = spectrogram(sound, rate_hz, nperseg=window, noverlap=max(0, window - hop))
    level = 10 * np.log10(power[::-1] + 1e-12)  # avoids log of 0; row 0 is the highest frequency
    # a click or a second of digital silence must not reduce the rest to one colour
    audible = level[level > _FLOOR_DB]
    low, high = np.percentile(audible if audible.size else level, _SHADES)
    shade = np.clip((level - low) / max(_LEAST_RANGE_DB, high - low), 0, 1)
    colours = mpl.colormaps["magma"](shade, bytes=True)[..., :3]
    # averages: a short sound stays visible in a long clip
    return _address(Image.fromarray(colours).resize(_SOUND_PX, Image.Resampling.BOX))


def _address(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def within_budget(
    keys: Sequence[Any], made: dict[Any, Sheet], most_bytes: int = PICTURES_BYTES
) -> dict[Any, Sheet]:
    """The sheets of these keys, in order, until their total size exceeds most_bytes."""
    kept, total = {}, 0
    for key in keys:
        sheet = made.get(key)
        if sheet is not None and key not in kept:
            total += sheet.size_bytes
            if total > most_bytes:
                break
            kept[key] = sheet
    return kept
