"""Pairs of clips of one content: of the same sound, or else of the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.auditing.alike import Pair, alike_pairs
from pipeline.auditing.findings import Finding, Kind, of_interest
from pipeline.auditing.picture_pairs import same_pictures
from pipeline.auditing.recordings import disjoint
from pipeline.auditing.seen import Seen
from pipeline.auditing.sound_pairs import same_sounds
from pipeline.config import Config
from pipeline.reporting import Reporter

_SURELY_HEARD_S = 1.5


def same_content(
    seen: Sequence[Seen], settled: set[tuple[str, str]], config: Config, report: Reporter
) -> Iterator[Finding]:
    """Pairs of interest. settled: pairs of ids that are known to be the same."""
    clips = _Clips(seen, settled)
    rows = [each.row for each in seen]
    for same in same_sounds([each.sound for each in seen], clips.wanted):
        clips.heard.add((same.first, same.second))
        yield Finding(
            Kind.SAME_SOUND, rows[same.first], rows[same.second], same.offset_s, same.agreement,
            f"{same.heard_s:.1f} s of it",
        )  # fmt: skip
    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    views = [each.views for each in seen]
    pairs = alike_pairs(views, kinds, clips.unheard, clips.sound_different)
    for found in same_pictures(rows, pairs, config, report) if pairs else ():
        dubbed = clips.sound_different(found.first, found.second)
        yield Finding(
            Kind.SAME_PICTURE, rows[found.first], rows[found.second], found.match.offset_s,
            found.match.score, "under another sound" if dubbed else "", dubbed,
        )  # fmt: skip


class _Clips:
    """Which pairs of clips, by number, are worth comparing."""

    def __init__(self, seen: Sequence[Seen], settled: set[tuple[str, str]]) -> None:
        self._seen, self._settled = seen, settled
        self.heard: set[Pair] = set()
        """Pairs found to have the same sound."""

    def wanted(self, first: int, second: int) -> bool:
        a, b = self._seen[first].row, self._seen[second].row
        if a.path == b.path and disjoint(a, b):
            return False  # what two moments of one file share is no copy
        return of_interest(a, b) and (a.id, b.id) not in self._settled

    def unheard(self, first: int, second: int) -> bool:
        return (first, second) not in self.heard and self.wanted(first, second)

    def sound_different(self, first: int, second: int) -> bool:
        """Of a pair not heard to be the same: whether there was enough to hear. Such are two
        recordings, unless one was dubbed."""
        return all(self._seen[k].sound.heard_s >= _SURELY_HEARD_S for k in (first, second))
