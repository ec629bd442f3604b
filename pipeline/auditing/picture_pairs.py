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
    look_of = {
        k: (content[rows[k].path], rows[k].start_s, rows[k].end_s) for pair in pairs for k in pair
    }
    row_of: dict[object, ManifestRow] = {}
    for k in sorted(look_of):
        row_of.setdefault(look_of[k], rows[k])
    looked_at = _looked_at(list(row_of.values()), config, report)
    moving = dict(zip(row_of, looked_at, strict=True))
    found = []
    for first, second in pairs:
        mine, other = moving[look_of[first]], moving[look_of[second]]
        if mine is not None and other is not None and may_match(mine, other):
            match = match_motion(mine, other)
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
