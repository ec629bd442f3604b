#!/usr/bin/env bash
# A WAV of 65 channels is decoded by FFmpeg, but nothing in it can convert what comes out: PyAV's
# AudioResampler refuses the frames, even where only the sample format is to change. libswresample
# takes 64 channels at the most, the decoders 512. Arrays of microphones and hydrophones have more.
# Versions: av 18.1.0 (FFmpeg 8.1.2). Seen: 64 channels resampled; 65 decoded as s16, then
# ArgumentError "Invalid argument".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1
cd "$folder"
cat > finding.py <<'PY'
import wave
import av
import numpy as np

for n_channels in (64, 65):
    with wave.open("a.wav", "wb") as out:
        out.setparams((n_channels, 2, 16000, 16000, "NONE", ""))
        out.writeframes(np.ones((16000, n_channels), "<i2").tobytes())
    with av.open("a.wav") as source:
        frames = list(source.decode(audio=0))
    assert sum(frame.samples for frame in frames) == 16000
    same = av.AudioResampler(format="flt", layout=frames[0].layout, rate=16000)
    try:
        said = f"{sum(out.samples for out in same.resample(frames[0]))} samples"
    except av.error.FFmpegError as error:
        said = f"{type(error).__name__}: {error.strerror}"
    print(f"{n_channels} channels, decoded as {frames[0].format.name}; resampled: {said}")
    if n_channels == 65:
        assert said == "ArgumentError: Invalid argument", "65 channels are resampled now"
    else:
        assert said.endswith("samples")
PY
"$folder/env/bin/python" finding.py
