#!/usr/bin/env bash
# Three channels without a channel mask, mixed to mono by PyAV's AudioResampler: the third is gone.
# FFmpeg takes three channels for 2.1, and a low-frequency channel is left out of a mono mix.
# Field recorders with three microphones or hydrophones write such files.
# Versions: av 18.1.0 (FFmpeg 8.1.2). Seen: levels 0.5, 0.5, 0.0 of three equal tones.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1
cd "$folder"
cat > finding.py <<'PY'
import wave
import av
import numpy as np

rate, t = 16000, np.arange(16000) / 16000
channels = np.stack([np.sin(2 * np.pi * hz * t) for hz in (400, 800, 1200)], axis=1)
with wave.open("a.wav", "wb") as out:
    out.setparams((3, 2, rate, rate, "NONE", ""))
    out.writeframes((channels * 16000).astype("<i2").tobytes())
with av.open("a.wav") as source:
    mono = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pieces = [out for frame in source.decode(audio=0) for out in mono.resample(frame)]
    pieces += mono.resample(None)
    layout = source.streams.audio[0].codec_context.layout.name
mixed = np.concatenate([piece.to_ndarray().ravel() for piece in pieces]) / 16000
levels = [abs(2 * (mixed * np.exp(-2j * np.pi * hz * t[: mixed.size])).mean()) for hz in (400, 800, 1200)]
print(f"layout {layout!r}; level of each channel in the mix:", [f"{level:.2f}" for level in levels])
assert layout == "3 channels", "the file's layout is named now"
assert levels[2] < 0.01 < min(levels[:2]), "the third channel is in the mix now"
PY
"$folder/env/bin/python" finding.py
