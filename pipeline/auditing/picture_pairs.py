"""Pairs of clips that show the same recording: clips that look alike are looked at closely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.dataset.manifest import ManifestRow
from data_prep.fingerprints.closer_look import Look
from data_prep.fingerprints.motion import MotionMatch, match_motion, may_match
from data_prep.fingerprints.moving import Moving
from data_prep.process.protocol import LookJob
from pipeline.auditing.alike import Pair
from pipeline.config import Config
from pipeline.decoding.decode_pool import DecodePool
from pipeline.reporting import Reporter
from pipeline.words import counted


@dataclass(frozen=True)
class SamePicture:
    """Clips by number; the second one's beginning lies at match.offset_s in the first."""

    first: int
    second: int
    match: MotionMatch


def same_pictures(
    rows: Sequence[ManifestRow], pairs: Sequence[Pair], config: Config, report: Reporter
) -> list[SamePicture]:
    """Those of the pairs that show one recording: what moves in both is compared."""
    moving = _looked_at(rows, sorted({k for pair in pairs for k in pair}), config, report)
    found = []
    for first, second in pairs:
        if first in moving and second in moving and may_match(moving[first], moving[second]):
            match = match_motion(moving[first], moving[second])
            if match.same:
                found.append(SamePicture(first, second, match))
    return found


def _looked_at(
    rows: Sequence[ManifestRow], clips: Sequence[int], config: Config, report: Reporter
) -> dict[int, Moving]:
    report.start("looking closer at clips that look alike", len(clips))
    jobs = [
        LookJob(row.path, row.start_s, row.end_s, row.rotation_deg or 0, config.limits)
        for row in (rows[k] for k in clips)
    ]
    moving = {}
    with DecodePool(config.classify.workers) as pool:
        for k, (_, answer) in zip(clips, pool.run(jobs), strict=True):
            if isinstance(answer, Look):
                moving[k] = Moving(answer.frames)
            report.advance(1, failed=not isinstance(answer, Look))
    report.finish()
    if len(moving) < len(clips):
        failed = counted(len(clips) - len(moving), "clip")
        report.note(f"not looked at closely, because the file cannot be decoded any more: {failed}")
    return moving
