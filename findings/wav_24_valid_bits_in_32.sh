#!/usr/bin/env bash
# WAVE_FORMAT_EXTENSIBLE with 24 valid bits in containers of 32: FFmpeg goes by the valid bits for
# the width of a sample, so a tone becomes noise of a third more samples, without an error.
# Versions: av 18.1.0 (FFmpeg 8.1.2); soundfile 0.13.1 (libsndfile 1.2.2) reads the same file right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1 soundfile==0.13.1
cd "$folder"
cat > finding.py <<'PY'
import struct
import av
import numpy as np
import soundfile

rate, t = 16000, np.arange(16000) / 16000
tone = 0.5 * np.sin(2 * np.pi * 440 * t)
data = (np.round(tone * (2**23 - 1)).astype("<i4") << 8).tobytes()
form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, rate, 4 * rate, 4, 32, 22, 24, 4)
form += bytes.fromhex("0100000000001000800000aa00389b71")
body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
open("a.wav", "wb").write(b"RIFF" + struct.pack("<I", len(body)) + body)
with av.open("a.wav") as source:
    codec = source.streams.audio[0].codec_context.name
    frames = [frame.to_ndarray().ravel() for frame in source.decode(audio=0)]
theirs = np.concatenate(frames) / 2.0**31
other, _ = soundfile.read("a.wav")
print(f"PyAV: {codec}, {theirs.size} samples, furthest from the tone {np.abs(theirs[:16000] - tone[:theirs.size]).max():.3g}")
print(f"soundfile: {other.size} samples, "
      f"furthest from the tone {np.abs(other - tone).max():.6f}")
assert np.abs(other - tone).max() < 1e-6
right = theirs.size == tone.size and np.abs(theirs - tone).max() < 1e-6
assert not right, "it is decoded right now"
PY
"$folder/env/bin/python" finding.py
