"""What a good engineer writes in an afternoon: the yardstick of the speed benchmark.

    python benchmarks/afternoon.py RUN FOLDER OUT.json [--most N]

decord gives the exact frames (with its own threads), the CNN runs eagerly in float32 on all frames
of a clip at once, PyAV decodes the sound; one process, one loop. It loads the same trained run as
framewave does, so that labels can be compared, and shares nothing else with it but the network.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch  # before decord, as most scripts have it

# isort: split
import av
import decord

from models.audio.spectrogram_images import SpectrogramEncoder
from models.classifier import ClipBatch
from models.ensemble import Ensemble
from pipeline.checkpoints.checkpoint import LoadedModel, load_model
from pipeline.features.spectrogram_windows import spectrogram_windows


def read_frames(path: str, side_px: int, rate_hz: float) -> tuple[np.ndarray, float]:
    """uint8 [T, H, W, C], the frame shown in the middle of each step; and the length in s."""
    reader = decord.VideoReader(path, width=side_px, height=side_px)
    times = reader.get_frame_timestamp(range(len(reader)))
    starts, end_s = times[:, 0] - times[0, 0], float(times[-1, 1] - times[0, 0])
    steps = max(1, math.ceil(end_s * rate_hz - 0.5 - 1e-9))
    wanted = np.minimum((np.arange(steps) + 0.5) / rate_hz, end_s - 1e-6)
    indices = np.searchsorted(starts, wanted + 1e-6, side="right") - 1
    return reader.get_batch(indices.tolist()).asnumpy(), end_s


def read_sound(path: str, rate_hz: int) -> np.ndarray:
    """int16 [S] mono from the first picture on; empty without a sound track."""
    with av.open(path) as container:
        if not container.streams.audio:
            return np.zeros(0, np.int16)
        audio, video = container.streams.audio[0], container.streams.video[0]
        starts_s = [float((s.start_time or 0) * s.time_base) for s in (audio, video)]
        late = round((starts_s[0] - starts_s[1]) * rate_hz)
        resampler = av.AudioResampler("s16", "mono", rate_hz)
        pieces = []
        for frame in container.decode(audio):
            pieces += [out.to_ndarray().reshape(-1) for out in resampler.resample(frame)]
        pieces += [out.to_ndarray().reshape(-1) for out in resampler.resample(None)]
        sound = np.concatenate(pieces)
    return np.concatenate([np.zeros(late, np.int16), sound]) if late > 0 else sound[-late:]


def windows_of(wave: np.ndarray, length: int, hop: int) -> torch.Tensor:
    """float32 [N, length]: one window for each hop, in its middle; silence past the ends."""
    before = (length - hop) // 2
    padded = np.pad(wave, (before, length - hop - before))
    return torch.from_numpy(np.lib.stride_tricks.sliding_window_view(padded, length)[::hop].copy())


def to_batch(
    model: LoadedModel, hears: SpectrogramEncoder | None, features: torch.Tensor, sound: np.ndarray
) -> ClipBatch:
    """One clip as the network takes it."""
    clip, steps = model.card.clip, len(features)
    per_step = clip.samples_per_step
    wave = np.zeros(steps * per_step, np.float32)
    heard = min(wave.size, sound.size)
    wave[:heard] = sound[:heard] / 32768
    audio_mask = torch.arange(steps) * per_step + per_step / 2 <= heard
    heard_as = torch.from_numpy(wave)[None]
    if hears is not None:
        hop = per_step // model.front_end.inputs_per_step
        heard_as = hears(windows_of(wave, hears.n_samples, hop))[None]
    hears_at_all = model.classifier.uses_audio
    return ClipBatch(
        features[None],
        model.front_end(heard_as) if hears_at_all else torch.zeros(1, 0, 0),
        torch.ones(1, steps, dtype=torch.bool), audio_mask[None] & bool(heard),
        torch.tensor([steps]),
    )  # fmt: skip


def main() -> None:
    run, folder, out = sys.argv[1:4]
    most = int(sys.argv[5]) if "--most" in sys.argv else None
    model = load_model(Path(run))
    clip = model.card.clip
    encoder, head = model.frame_encoder().eval(), model.classifier
    assert isinstance(head, Ensemble)
    hears = None
    if model.card.uses_spectrograms:
        length = spectrogram_windows(model.card.model, clip).length
        hears = SpectrogramEncoder(
            encoder, clip.audio_rate_hz, clip.frame_size_px or 0, length
        ).eval()
    assert clip.frame_size_px is not None
    answers: dict[str, dict[str, float]] = {}
    begun_s = time.perf_counter()
    media_s = 0.0
    paths = sorted(str(p) for p in Path(folder).rglob("*.mp4"))
    for path in paths[:: max(1, len(paths) // most)][:most] if most else paths:
        frames, length_s = read_frames(path, clip.frame_size_px, clip.frame_rate_hz)
        media_s += length_s
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            normalised = (pictures.float() - encoder.mean) / encoder.std
            features = encoder.trunk(normalised)
            sound = read_sound(path, clip.audio_rate_hz)
            chances = head(to_batch(model, hears, features, sound)).softmax(1)[0]
        answers[path] = dict(zip(model.card.labels, chances.tolist(), strict=True))
    looped_s = time.perf_counter() - begun_s
    Path(out).write_text(json.dumps({"loop_s": looped_s, "media_s": media_s, "clips": answers}))


if __name__ == "__main__":
    main()
