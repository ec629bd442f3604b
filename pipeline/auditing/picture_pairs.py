"""Pairs of clips that show the same recording: clips that look alike are looked at closely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.dataset.manifest import ManifestRow
from data_prep.fingerprints.look import Look
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
    rows: Sequence[ManifestRow],
    pairs: Sequence[Pair],
    content: Mapping[str, str],
    config: Config,
    report: Reporter,
) -> list[SamePicture]:
    """Those of the pairs that show one recording: what moves in both is compared.

    content: {path: a name of the file's content}; of equal files one is decoded.
    """
    of_look: dict[object, list[int]] = {}
    for k in sorted({k for pair in pairs for k in pair}):
        row = rows[k]
        of_look.setdefault((content[row.path], row.start_s, row.end_s), []).append(k)
    first_of_each = [clips[0] for clips in of_look.values()]
    looked_at = _looked_at([rows[k] for k in first_of_each], config, report)
    moving = {
        k: look
        for clips, look in zip(of_look.values(), looked_at, strict=True)
        for k in clips
        if look is not None
    }
    found = []
    for first, second in pairs:
        if first in moving and second in moving and may_match(moving[first], moving[second]):
            match = match_motion(moving[first], moving[second])
            if match.same:
                found.append(SamePicture(first, second, match))
    return found


def _looked_at(
    rows: Sequence[ManifestRow], config: Config, report: Reporter
) -> list[Moving | None]:
    """Of each row; None where its file cannot be decoded any more."""
    report.start("looking closer at clips that look alike", len(rows))
    jobs = [
        LookJob(row.path, row.start_s, row.end_s, row.rotation_deg or 0, config.limits)
        for row in rows
    ]
    moving: list[Moving | None] = []
    with DecodePool(config.classify.workers) as pool:
        for _, answer in pool.run(jobs):
            moving.append(Moving(answer.frames) if isinstance(answer, Look) else None)
            report.advance(1, failed=moving[-1] is None)
    report.finish()
    failed = moving.count(None)
    if failed:
        report.note(
            "not looked at closely, because the file cannot be decoded any more: "
            f"{counted(failed, 'clip')}"
        )
    return moving
