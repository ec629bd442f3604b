"""Ways of reading the frames of one file, beside each other: python benchmarks/decoding.py FILE…

Processor milliseconds of a whole clip (frames, sound, looking into the file), the least of three
runs, in a process of its own as decoding processes are: every way at the default promise and exact,
and the default promise without the codec's loop filter, with what that changes in the frames (mean
absolute difference of 255, worst frame).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

WAYS = [("auto", None, True), ("every", None, True), ("auto", None, False),
        ("auto", 0.0, True), ("decord", 0.0, True), ("every", 0.0, True)]  # fmt: skip


def decode_once(path: str, way: Any, tolerance_s: float | None, loop_filter: bool) -> Any:
    """(report, frames uint8 [T, C, H, W], processor seconds)."""
    from data_prep.clip import ClipSource
    from data_prep.clips.clip_decoder import decode_clip
    from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings

    clip = ClipSettings(frame_size_px=260, frame_tolerance_s=tolerance_s, loop_filter=loop_filter)
    begun_s = time.process_time()
    chunks = decode_clip(ClipSource("x", path), DecodeSettings(clip, LimitSettings(), strategy=way))
    frames = []
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            return end.value, np.concatenate(frames), time.process_time() - begun_s
        frames.append(chunk.frames[chunk.video_mask])


def measure(path: str) -> list[dict[str, Any]]:
    found = []
    reference: dict[float | None, Any] = {}
    for way, tolerance_s, loop_filter in WAYS:
        runs = [decode_once(path, way, tolerance_s, loop_filter) for _ in range(3)]
        report, frames, _ = runs[0]
        row: dict[str, Any] = {
            "asked": way, "way": report.decode_strategy, "loop_filter": loop_filter,
            "promise": "exact" if tolerance_s == 0 else "default",
            "ms": round(1000 * min(run[2] for run in runs), 1),
        }  # fmt: skip
        if not loop_filter:
            off = np.abs(frames.astype(int) - reference[tolerance_s].astype(int))
            row["difference"] = round(float(off.mean()), 3)
            row["worst_frame"] = round(float(off.mean(axis=(1, 2, 3)).max()), 3)
        elif way == "auto":
            reference[tolerance_s] = frames
        found.append(row)
    return found


def main() -> None:
    if sys.argv[1] == "--here":
        print(json.dumps(measure(sys.argv[2])))
        return
    everything = {}
    for path in sys.argv[1:]:
        with tempfile.TemporaryFile() as words:  # decoders' words go where they can be read back
            done = subprocess.run(
                [sys.executable, __file__, "--here", path], stdout=subprocess.PIPE, stderr=words,
                check=True, text=True,
            )  # fmt: skip
        everything[path] = json.loads(done.stdout)
    print(json.dumps(everything))


if __name__ == "__main__":
    main()
