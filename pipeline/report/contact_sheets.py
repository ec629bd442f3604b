"""Contact sheets: frames of a clip with their times, and its sound as a spectrogram."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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

FRAMES = 6
SIDE_PX = 480
_QUALITY = 72
_CLIP = ClipSettings(frame_size_px=SIDE_PX, frame_fit="letterbox")
_SOUND_PX = (960, 192)
_SHADES = (5, 99.8)  # percentiles of the levels that darkest and brightest stand for
_MOST_SOUND_S = 600
_FLOOR_DB, _LEAST_RANGE_DB = -119.0, 20.0


@dataclass(frozen=True)
class Frame:
    """One sampled frame; data: of a data: address."""

    time_s: float
    data: str


@dataclass(frozen=True)
class Sheet:
    """Pictures of one clip."""

    frames: list[Frame]
    sound: str
    """A data: address of the spectrogram, "" where nothing is heard."""
    sound_s: float
    sound_hz: float = 0.0
    """The highest frequency of the spectrogram; the lowest is 0."""

    @property
    def times(self) -> list[str]:
        """Of the frames, in seconds, with as many digits as tell them apart."""
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
    """{row key: its sheet}, from the work folder where it is there, else from the file itself."""
    progress.start("contact sheets", len(rows))
    made: dict[tuple[str, float | None, float | None], Sheet] = {}
    for row, sheet in _from_store(rows, prepared):
        made[row.key] = sheet
        progress.advance(1)
    rest = [row for row in rows if row.key not in made]
    settings = DecodeSettings(_CLIP, config.limits)
    with DecodePool(config.classify.workers) as pool:
        jobs = (DecodeJob(row.source, settings) for row in rest)
        for row, given in zip(rest, pool.chunks(jobs), strict=True):
            from_file = _of_chunks(given)
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
    for held in prepared.store.recordings(wanted):
        chosen = evenly(len(held.jpegs), FRAMES)
        frames = [
            Frame(held.times_s[k], _jpeg(decode_jpeg(held.jpegs[k]).transpose(1, 2, 0)))
            for k in chosen
        ]
        found.append((wanted[held.id], _sheet(frames, held.waveform, clip.file_audio_rate_hz)))
    return found


def _of_chunks(chunks: Iterable[ClipChunk]) -> Sheet | None:
    """None where there is no chunk. Frames are packed as they come: a file may last for hours."""
    frames: list[Frame] = []
    sound: list[Samples] = []
    for chunk in chunks:
        frames += [
            Frame(float(chunk.frame_times_s[t]), _jpeg(chunk.frames[t].transpose(1, 2, 0)))
            for t in np.flatnonzero(chunk.video_mask)
        ]
        if sum(map(len, sound)) < _MOST_SOUND_S * _CLIP.audio_rate_hz:
            sound.append(chunk.samples)
    if not sound:
        return None
    shown = [frames[k] for k in evenly(len(frames), FRAMES)]
    return _sheet(shown, np.concatenate(sound), _CLIP.audio_rate_hz)


def _sheet(frames: list[Frame], waveform: Samples, rate_hz: int) -> Sheet:
    waveform = waveform[: _MOST_SOUND_S * rate_hz]
    heard = bool(waveform.any())
    sound = _spectrogram(waveform, rate_hz) if heard else ""
    return Sheet(frames, sound, waveform.size / rate_hz if heard else 0.0, rate_hz / 2)


def _jpeg(picture: UInt8Array) -> str:
    """uint8 [H, W, C] → data: address, at most 480 px."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    return _address(image)


def _spectrogram(sound: Samples, rate_hz: int) -> str:
    """Logarithmic power up to half the rate, time to the right, low frequencies at the bottom."""
    hop = max(64, sound.size // (2 * _SOUND_PX[0]))
    window = min(512, sound.size)
    _, _, power = spectrogram(sound, rate_hz, nperseg=window, noverlap=max(0, window - hop))
    level = 10 * np.log10(power[::-1] + 1e-12)
    # one click or a second of digital silence must not leave all else in one colour
    heard = level[level > _FLOOR_DB]
    low, high = np.percentile(heard if heard.size else level, _SHADES)
    shade = np.clip((level - low) / max(_LEAST_RANGE_DB, high - low), 0, 1)
    colours = mpl.colormaps["magma"](shade, bytes=True)[..., :3]
    return _address(Image.fromarray(colours).resize(_SOUND_PX, Image.Resampling.BOX))


def _address(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
