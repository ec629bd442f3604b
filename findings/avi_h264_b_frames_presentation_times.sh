#!/usr/bin/env bash
# H.264 with B-frames in AVI: frames come out of PyAV in the order they are shown, and their
# presentation times go back and forth. AVI holds no presentation times; FFmpeg gives every packet
# its time of decoding and one frame, whatever the picture's place.
# Versions: av 18.1.0 (FFmpeg 8.1.2). Seen: 1 3 2 5 4 … for pictures 0 1 2 3 4 …
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1
cd "$folder"
cat > finding.py <<'PY'
import struct
import av
import numpy as np

def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

with av.open("in.mkv", "w") as out:  # 24 pictures, each one brightness
    video = out.add_stream("libx264", rate=25, options={"bf": "2", "g": "24", "x264-params": "b-adapt=0"})
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    for k in range(24):
        picture = np.full((48, 64, 3), 10 * k, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = k
        out.mux(video.encode(frame))
    out.mux(video.encode(None))
with av.open("in.mkv") as source:
    stream = source.streams.video[0]
    as_stream = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
    coded = [bytes(q) for p in source.demux(stream) for q in as_stream.filter(p if p.size else None) if q.size]
n, most = len(coded), max(map(len, coded))
main = struct.pack("<14I", 40000, 0, 0, 16, n, 0, 1, most, 64, 48, 0, 0, 0, 0)
head = b"vidsH264" + struct.pack("<IHHIIIIIIII4H", 0, 0, 0, 0, 1, 25, 0, n, most, 0xFFFFFFFF, 0, 0, 0, 64, 48)
kind = struct.pack("<IiiHH4sIiiII", 40, 64, 48, 1, 24, b"H264", 9216, 0, 0, 0, 0)
streams = chunk(b"LIST", b"strl" + chunk(b"strh", head) + chunk(b"strf", kind))
movie, index = b"movi", b""
for k, data in enumerate(coded):
    index += b"00dc" + struct.pack("<III", 0 if k else 16, len(movie), len(data))
    movie += chunk(b"00dc", data)
open("a.avi", "wb").write(chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + streams)
                                + chunk(b"LIST", movie) + chunk(b"idx1", index)))
with av.open("a.avi") as source:
    found = [(frame.pts, round(frame.to_ndarray(format="rgb24").mean() / 10)) for frame in source.decode(video=0)]
times, pictures = [t for t, _ in found], [k for _, k in found]
print("pictures in the order they come out:", pictures)
print("their presentation times:           ", times)
assert pictures == list(range(24)), "they do not come in the order they are shown any more"
assert times != sorted(times), "the presentation times are in order now"
PY
"$folder/env/bin/python" finding.py
