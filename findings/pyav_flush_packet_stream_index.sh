#!/usr/bin/env bash
# PyAV's demux ends with an empty packet for each stream, which makes its decoder return the frames
# that it held back. Its `stream` is right, but its `stream_index` is 0 for every stream. Who gives
# packets to decoders by `stream_index` never drains the others: the last pictures are lost, here of
# a file whose sound is stream 0.
# Versions: av 18.1.0 (FFmpeg 8.1.2). Seen: indexes 0 and 0 for streams 0 and 1; 50 frames by
# `stream.index`, 48 by `stream_index`.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1
cd "$folder"
cat > finding.py <<'PY'
import av
import numpy as np

with av.open("a.mp4", "w") as out:
    sound = out.add_stream("aac", rate=16000, layout="mono")
    video = out.add_stream("libx264", rate=25, options={"bf": "2"})
    video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    for block in range(32):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "flt", "mono")
        frame.sample_rate, frame.pts = 16000, 1000 * block
        out.mux(sound.encode(frame))
    for number in range(50):
        picture = np.full((64, 64, 3), 5 * number, np.uint8)
        out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    out.mux(sound.encode(None))
    out.mux(video.encode(None))


def pictures(index_of):
    """Number of frames if packets go to the decoder of this index; and of the empty packets."""
    with av.open("a.mp4") as source:
        decoders = [stream.codec_context for stream in source.streams]
        count, empty = 0, []
        for packet in source.demux():
            if packet.size == 0:
                empty.append((packet.stream.index, packet.stream_index))
            try:
                frames = decoders[index_of(packet)].decode(packet)
            except av.EOFError:  # a decoder that was drained already
                frames = []
            count += sum(isinstance(frame, av.VideoFrame) for frame in frames)
        return count, empty


right, empty = pictures(lambda packet: packet.stream.index)
lost, _ = pictures(lambda packet: packet.stream_index)
print(f"empty packets (stream.index, stream_index): {empty}; frames {right} and {lost}")
assert right == 50
assert empty == [(0, 0), (1, 0)], "the empty packet knows its stream now"
assert lost < right, "no frame is lost now"
PY
"$folder/env/bin/python" finding.py
