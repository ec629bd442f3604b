"""The floor under classifying a folder: each part alone, at its best, as if all cores were busy.

    python benchmarks/floor.py FOLDER --encoder efficientnet_lite2 --side 260 [--exact]

Processor seconds on one core, each part measured by itself with nothing around it:

- decode   the cheapest of several ways by which a plain PyAV loop gets the frames it may take:
           key frames by seeking; seeking per step and decoding up to the first allowed frame;
           reading through without pictures that no other refers to. Scaled, nothing else.
- sound    one pass, resampled by FFmpeg to 16 kHz mono.
- CNN      its best rate per core: OpenVINO, one thread, the best of several batch sizes, in the
           precision that is framewave's rule here (the same layers in float32, without which labels
           would change). With --hears also one call for each second of sound, from samples to
           log-mel picture to features.

floor = (decode + sound + CNN) / cores. Nothing of framewave is used but the networks and
their precision.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_RATE_HZ = 16_000
_SAMPLE = 6  # files of a folder that are measured (--sample); the others are taken to be like them


class Loop:
    """Plain ways to the frames of one file. `tolerance_s` 0: the frame shown at the target time."""

    def __init__(self, path: str, side_px: int, tolerance_s: float) -> None:
        self.path, self.side_px, self.tolerance_s = path, side_px, tolerance_s
        self._reformatter = VideoReformatter()
        with av.open(path) as container:
            stream = container.streams.video[0]
            packets = [p for p in container.demux(stream) if p.pts is not None]
            base = float(stream.time_base)
        self.times_s = np.sort([p.pts * base for p in packets])
        self.zero_s = float(self.times_s[0])
        self.keys = [(p.pts * base, p.dts) for p in packets if p.is_keyframe]
        end_s = self.times_s[-1] - self.zero_s + float(np.median(np.diff(self.times_s)))
        self.target_s = np.arange(0.5, max(end_s, 0.51)) + self.zero_s

    def _scale(self, frame: Any) -> None:
        self._reformatter.reformat(
            frame, self.side_px, self.side_px, "rgb24", interpolation="BICUBIC"
        ).to_ndarray()

    def first_allowed_s(self, target_s: float) -> float:
        if self.tolerance_s:
            return target_s - self.tolerance_s
        return float(self.times_s[np.searchsorted(self.times_s, target_s + 1e-6) - 1])

    def key_frames(self) -> bool:
        """False where a step has no key frame that is allowed."""
        chosen = []
        for target_s in self.target_s:
            near = min(self.keys, key=lambda key: abs(key[0] - target_s))
            if abs(near[0] - target_s) > self.tolerance_s + 1e-6:
                return False
            chosen.append(near[1])
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            context.thread_count = 1
            for dts in chosen:
                container.seek(dts, stream=stream)
                for frame in next(container.demux(stream)).decode() + context.decode(None):
                    self._scale(frame)
                context.flush_buffers()
        return True

    def seeking(self) -> bool:
        """Seek for each step; decode on from the key frame to the first allowed frame."""
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            context.thread_count = 1
            base = float(stream.time_base)
            for target_s in self.target_s:
                allowed_s = self.first_allowed_s(target_s) - 1e-6
                from_s = max(self.zero_s, target_s + self.tolerance_s - 1e-3)
                container.seek(int(from_s / base), stream=stream)
                context.flush_buffers()
                context.skip_frame = "NONREF"
                for frame in self._decoded(container, stream, allowed_s / base):
                    if frame.time >= allowed_s:
                        self._scale(frame)
                        break
        return True

    def through(self) -> bool:
        """Read on from the beginning, without pictures that no other refers to."""
        waiting = list(self.target_s)
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.skip_frame = "NONREF" if self.tolerance_s else "DEFAULT"
            for frame in container.decode(stream):
                if waiting and frame.time >= self.first_allowed_s(waiting[0]) - 1e-6:
                    self._scale(frame)
                    waiting.pop(0)
                if not waiting:
                    break
        return True

    @staticmethod
    def _decoded(container: Any, stream: Any, from_pts: float) -> Any:
        """Frames; pictures that others do not need are decoded only from a time on."""
        for packet in container.demux(stream):
            if packet.pts is not None and packet.pts >= from_pts:
                stream.codec_context.skip_frame = "DEFAULT"
            yield from packet.decode()


def processor_s(work: Callable[[], object]) -> float:
    """The fewer processor seconds of two runs."""
    took = []
    for _ in range(2):
        begun_s = time.process_time()
        work()
        took.append(time.process_time() - begun_s)
    return min(took)


def decode_s(path: str, side_px: int, tolerance_s: float) -> tuple[float, str, int]:
    """Processor seconds of the cheapest way, its name, and the number of frames."""
    loop = Loop(path, side_px, tolerance_s)
    took = {
        way.__name__: processor_s(way)
        for way in (loop.key_frames, loop.seeking, loop.through)
        if way()
    }
    best = min(took, key=lambda name: took[name])
    return took[best], best, len(loop.target_s)


def sound_s(path: str, rate_hz: int = _RATE_HZ) -> float:
    def read() -> None:
        with av.open(path) as container:
            if not container.streams.audio:
                return
            resampler = av.AudioResampler("s16", "mono", rate_hz)
            for frame in container.decode(container.streams.audio[0]):
                frame.pts = None
                for out in resampler.resample(frame):
                    out.to_ndarray()

    return processor_s(read)


def has_audio(path: str) -> bool:
    with av.open(path) as container:
        return bool(container.streams.audio)


def cnn_s(module: Any, inputs: Any, precision: str) -> float:
    """Processor seconds per input of a network at its best batch size, one thread."""
    from networks import compiled, converted

    model = converted(module, inputs)
    best = float("inf")
    for batch in (1, 2, 4, 8):
        model.reshape([batch, *inputs.shape[1:]])
        request = compiled(model, precision).create_infer_request()
        given = inputs[:batch].numpy()
        request.infer([given])

        def run(request: Any = request, given: Any = given, times: int = 16 // batch) -> None:
            for _ in range(times):
                request.infer([given])

        best = min(best, processor_s(run) / 16)
    return best


def each_s(encoder: str, side_px: int, precision: str, hears: bool) -> tuple[float, float]:
    """Processor seconds of a frame, and of a window of sound (0 without --hears)."""
    import torch

    from models.audio.spectrogram_images import SpectrogramEncoder
    from models.settings import ModelSettings
    from pipeline.features.encoder_weights import load_frame_encoder

    settings = ModelSettings(frame_encoder=encoder)
    module = load_frame_encoder(settings).eval()
    pictures = torch.randint(0, 256, (8, 3, side_px, side_px), dtype=torch.uint8)
    frame_s = cnn_s(module, pictures, precision)
    if not hears:
        return frame_s, 0.0
    length = round(2.0 * _RATE_HZ)  # the default window
    windows = 0.1 * torch.randn(8, length)
    listener = SpectrogramEncoder(module, _RATE_HZ, side_px, length).eval()
    return frame_s, cnn_s(listener, windows, precision)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--encoder", default="efficientnet_lite2")
    parser.add_argument("--side", type=int, default=260)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--precision", help="float32 or bfloat16; else framewave's rule")
    parser.add_argument("--sample", type=int, default=_SAMPLE)
    parser.add_argument("--hears", action="store_true", help="windows of sound through the CNN")
    asked = parser.parse_args()
    paths = sorted(str(p) for p in Path(asked.folder).rglob("*.mp4"))
    sample = paths[:: max(1, len(paths) // asked.sample)][: asked.sample]
    from networks import usual_precision

    precision = asked.precision or usual_precision()
    frame_s, window_s = each_s(asked.encoder, asked.side, precision, asked.hears)
    parts = [
        (*decode_s(path, asked.side, 0.0 if asked.exact else 0.5), sound_s(path), has_audio(path))
        for path in sample
    ]
    share = len(paths) / len(sample)
    decoding_s = share * sum(part[0] for part in parts)
    frames = share * sum(part[2] for part in parts)
    hearing_s = share * sum(part[3] for part in parts)
    windows = share * sum(part[2] for part in parts if part[4]) if asked.hears else 0.0
    seeing_s = frames * frame_s + windows * window_s
    cores = os.cpu_count() or 1
    print(json.dumps({
        "clips": len(paths), "cores": cores, "frames": frames, "windows": windows,
        "ways": sorted({part[1] for part in parts}), "precision": precision,
        "decode_s": decoding_s, "sound_s": hearing_s, "cnn_s": seeing_s,
        "cnn_ms_per_frame": frame_s * 1000, "cnn_ms_per_window": window_s * 1000,
        "floor_s": (decoding_s + hearing_s + seeing_s) / cores,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
