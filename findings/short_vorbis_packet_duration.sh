#!/usr/bin/env bash
# A short Ogg Vorbis sound whose pages end before its last packet does: the last packet's duration
# is negative and comes as a number near 2^32, about a day at 48 kHz. Whoever adds up durations
# takes a sound of 60 ms for one of a day.
# Versions: av 18.1.0 (FFmpeg 8.1.2); written by soundfile 0.13.1 (libsndfile 1.2.2).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1 soundfile==0.13.1
cd "$folder"
cat > finding.py <<'PY'
import av
import numpy as np
import soundfile

rate, n = 44100, 2646  # 60 ms
soundfile.write("a.ogg", 0.3 * np.sin(np.arange(n) * 0.1), rate, format="OGG", subtype="VORBIS")
with av.open("a.ogg") as source:
    durations = [packet.duration for packet in source.demux(audio=0) if packet.size]
print("durations of the packets, in samples:", durations)
assert max(durations) > 2**31, "no packet has a wrapped duration any more"
PY
"$folder/env/bin/python" finding.py
