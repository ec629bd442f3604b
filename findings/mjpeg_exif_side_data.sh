#!/usr/bin/env bash
# Motion JPEG whose pictures carry an Exif orientation: in PyAV every access to frame.side_data
# raises ValueError, since FFmpeg 8 gives a kind of side data that PyAV's list does not know.
# Code that looks there for a display matrix fails on a whole and valid file.
# Versions: av 18.1.0 (FFmpeg 8.1.2), pillow 12.1.0. Seen: ValueError: 31 is not a valid Type
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.1 pillow==12.1.0
cd "$folder"
cat > finding.py <<'PY'
import av
from PIL import Image

tags = Image.Exif()
tags[0x0112] = 6  # to be turned by 90 degrees
with open("a.mjpeg", "wb") as out:
    for shade in (50, 120, 200):
        Image.new("RGB", (64, 48), (shade,) * 3).save(out, "JPEG", exif=tags)
with av.open("a.mjpeg", format="mjpeg") as source:
    frame = next(source.decode(video=0))
print("decoded:", frame.width, "x", frame.height, "rotation", frame.rotation)
try:
    print(list(frame.side_data))
except ValueError as error:
    print("side_data:", error)
    raise SystemExit(0) from None
raise SystemExit("side_data can be read now")
PY
"$folder/env/bin/python" finding.py
