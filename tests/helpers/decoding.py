"""One clip decoded to its chunks."""

from __future__ import annotations

from pathlib import Path

from data_prep.clip import ClipChunk, ClipSource, DecodeSummary
from data_prep.clips.clip_decoder import decode_clip
from data_prep.settings import ClipSettings, DecodeSettings, LimitSettings

CFR = [40 * i for i in range(120)]


def decode(path: Path, **options) -> tuple[list[ClipChunk], DecodeSummary]:
    """Exact frames unless the clip settings say otherwise."""
    exact = {"frame_size_px": 100, "frame_fit": "stretch", "frame_tolerance_s": 0}
    clip = ClipSettings(**exact | options.pop("clip", {}))
    limits = LimitSettings(**options.pop("limits", {}))
    source = ClipSource("x", str(path), **options.pop("source", {}))
    chunks = decode_clip(source, DecodeSettings(clip, limits, **options))
    got = []
    while True:
        try:
            got.append(next(chunks))
        except StopIteration as end:
            return got, end.value
