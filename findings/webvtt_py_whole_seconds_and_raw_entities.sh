#!/usr/bin/env bash
# webvtt-py: start_in_seconds and end_in_seconds of a cue are whole seconds, its milliseconds are
# dropped. The text of a cue keeps character references such as &amp; as they are written, and the
# writer does not make any, so "a < b" is written as markup that a player would not show.
# Versions: webvtt-py 0.6.0. Seen: 1 3 for a cue from 1.900 to 3.999 s; "rain &amp; wind".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check webvtt-py==0.6.0
cd "$folder"
cat > finding.py <<'PY'
import webvtt

text = "WEBVTT\n\n00:00:01.900 --> 00:00:03.999\nrain &amp; wind\n"
cue = webvtt.from_string(text).captions[0]
print("seconds:", cue.start_in_seconds, cue.end_in_seconds, "text:", cue.text)
assert (cue.start_in_seconds, cue.end_in_seconds) == (1, 3), "milliseconds are kept now"
assert cue.text == "rain &amp; wind", "character references are resolved now"
written = webvtt.WebVTT(captions=[webvtt.Caption("00:00:00.000", "00:00:01.000", "a < b & c")]).content
print(written)
assert "a < b & c" in written, "text is escaped now"
PY
"$folder/env/bin/python" finding.py
