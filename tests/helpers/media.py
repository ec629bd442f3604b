"""Test media made with PyAV: every frame carries its own number, sound events mark times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from data_prep.video.resize import fit_square

MS = Fraction(1, 1000)
WIDTH, HEIGHT, BITS = 160, 96, 8


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 [H, W, C]: eight bars, bright where the bit of `number` is set."""
    picture = np.full((height, width, 3), 60, np.uint8)
    for bit in range(BITS):
        left, right = width * bit // BITS, width * (bit + 1) // BITS
        picture[:, left:right] = 225 if (number >> bit) & 1 else 25
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number in a picture [H, W, C] that shows nothing but the bars (any size)."""
    height, width = picture.shape[:2]
    columns = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(columns) if picture[height // 2, x].mean() > 125)


def write_video(
    path: Path,
    times_ms: list[int],
    *,
    start_ms: int = 0,
    sound_ms: tuple[int, int] | None = None,
    beeps_ms: tuple[int, ...] = (),
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    audio_codec: str = "aac",
    picture: bool = True,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Numbered frames at the given times; sound from…to in ms, with short beeps in it."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        if not picture:
            audio = container.add_stream(audio_codec, rate=_rate_hz(audio_codec), layout="mono")
            _write_sound(container, audio, sound_ms or (0, times_ms[-1]), beeps_ms)
            return path
        if codec == "libx264":
            options = options or {"bf": "2", "g": "12"}
        video = container.add_stream(codec, rate=25, options=options)
        video.width, video.height = size
        video.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        base = MS if codec in ("libx264", "libvpx") else Fraction(1, 25)
        video.time_base = video.codec_context.time_base = base
        if pixel_aspect:
            video.sample_aspect_ratio = video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            video.set_display_rotation(rotation)
        audio = None
        if sound_ms:
            audio = container.add_stream(audio_codec, rate=_rate_hz(audio_codec), layout="mono")
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number % 256, *size), "rgb24")
            frame.pts, frame.time_base = round((time_ms + start_ms) * MS / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound_ms is not None:
            _write_sound(container, audio, sound_ms, beeps_ms)
    return path


def _rate_hz(audio_codec: str) -> int:
    return 44_100 if audio_codec in ("libmp3lame", "mp2") else 16_000


def _write_sound(container, audio, sound_ms: tuple[int, int], beeps_ms: tuple[int, ...]) -> None:
    """Blocks at 16 kHz, resampled to what the encoder takes."""
    resampler = av.AudioResampler(
        audio.codec_context.format, "mono", audio.codec_context.sample_rate
    )
    for pts, block in _blocks(sound_ms, beeps_ms):
        frame = av.AudioFrame.from_ndarray(block[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, pts, Fraction(1, 16_000)
        if audio.codec_context.name == "aac":
            container.mux(audio.encode(frame))
            continue
        for out in resampler.resample(frame):
            container.mux(audio.encode(out))
    container.mux(audio.encode(None))


def _blocks(span_ms: tuple[int, int], beeps_ms: tuple[int, ...]):
    begin, end = span_ms[0] * 16, span_ms[1] * 16
    wave = np.zeros(end, np.float32)
    for beep_ms in beeps_ms:
        first = beep_ms * 16
        wave[first : first + 480] = 0.8 * np.sin(np.arange(480) * 0.9)
    for start in range(begin, end, 1024):
        block = np.zeros(1024, np.float32)
        part = wave[start : min(start + 1024, end)]
        block[: part.size] = part
        yield start, block


def remux(source: Path, target: Path, *, earlier_ms: int = 0, drop_sound: bool = False) -> Path:
    """Copy packets without encoding, all of them earlier (MP4 hides what is then before zero)."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        streams = [s for s in old.streams if not (drop_sound and s.type == "audio")]
        copies = {s.index: new.add_stream_from_template(s) for s in streams}
        for packet in old.demux(streams):
            if packet.dts is None:
                continue
            shift = round(Fraction(earlier_ms, 1000) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream_index]
            new.mux(packet)
    return target


def squared(picture: np.ndarray, side_px: int) -> np.ndarray:
    """uint8 [H, W, C] → [C, side, side], as decoding makes frames."""
    square = np.zeros((3, side_px, side_px), np.uint8)
    fit_square(picture, square)
    return square


def pyav_frames(path: Path) -> list[tuple[float, int]]:
    """(time s, number) of every frame as PyAV decodes it: the reference."""
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), read_number(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]
