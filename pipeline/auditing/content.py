"""Pairs of clips of one content: of the same sound, or else of the same picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from data_prep.fingerprints.thumbnail import Vectors, unit, view_vectors
from pipeline.auditing.alike import Pair, alike_pairs
from pipeline.auditing.findings import Finding, Kind, of_interest
from pipeline.auditing.picture_pairs import same_pictures
from pipeline.auditing.seen import Seen
from pipeline.auditing.sound_pairs import same_sounds
from pipeline.config import Config
from pipeline.reporting import Reporter

_SURELY_HEARD_S = 1.5
_NOT_DIFFERENT = 0.5  # of clips of unrelated scenes three in four are below, of one scene few


def same_content(
    seen: Sequence[Seen], content: Mapping[str, str], config: Config, report: Reporter
) -> Iterator[Finding]:
    """Pairs of interest of different files. content: {path: a name of the file's content}."""
    clips = _Clips(seen, content)
    rows = [each.row for each in seen]
    for same in same_sounds([each.sound for each in seen], clips.wanted):
        clips.heard.add((same.first, same.second))
        dubbed = clips.picture_different(same.first, same.second)
        under = " under another picture" if dubbed else ""
        yield Finding(
            Kind.SAME_SOUND, rows[same.first], rows[same.second], same.offset_s, same.agreement,
            f"{same.heard_s:.1f} s of it{under}", dubbed,
        )  # fmt: skip
    kinds = [(row.label, row.group_or_path, row.split, row.fold) for row in rows]
    views = [each.views for each in seen]
    pairs = alike_pairs(views, kinds, clips.unheard, clips.sound_different)
    for found in same_pictures(rows, pairs, content, config, report) if pairs else ():
        dubbed = clips.sound_different(found.first, found.second)
        yield Finding(
            Kind.SAME_PICTURE, rows[found.first], rows[found.second], found.match.offset_s,
            found.match.score, "under another sound" if dubbed else "", dubbed,
        )  # fmt: skip


def believable(by_time: Iterable[Finding], seen: Sequence[Seen]) -> Iterator[Finding]:
    """Those findings by time alone whose clips do not look wholly different, as those of two
    cameras that were started together do."""
    views = {each.row.id: each.views for each in seen}
    nothing = view_vectors([])
    for finding in by_time:
        ends = (views.get(row.id, nothing) for row in (finding.first, finding.second))
        if not _look_different(*ends):
            yield finding


def _look_different(first: Vectors, second: Vectors) -> bool:
    """Whether both have pictures, and none of one is anything like one of the other."""
    if not first.size or not second.size:
        return False
    return float((unit(first) @ unit(second).T).max()) < _NOT_DIFFERENT


class _Clips:
    """Which pairs of clips, by number, are worth comparing."""

    def __init__(self, seen: Sequence[Seen], content: Mapping[str, str]) -> None:
        self._seen, self._content = seen, content
        self.heard: set[Pair] = set()
        """Pairs found to have the same sound."""

    def wanted(self, first: int, second: int) -> bool:
        a, b = self._seen[first].row, self._seen[second].row
        # of equal bytes, what there is to know is known: two moments of one file are no copy
        return self._content[a.path] != self._content[b.path] and of_interest(a, b)

    def unheard(self, first: int, second: int) -> bool:
        return (first, second) not in self.heard and self.wanted(first, second)

    def sound_different(self, first: int, second: int) -> bool:
        """Of a pair not heard to be the same: whether there was enough to hear. Such are two
        recordings, unless one was dubbed."""
        return all(self._seen[k].sound.heard_s >= _SURELY_HEARD_S for k in (first, second))

    def picture_different(self, first: int, second: int) -> bool:
        return _look_different(self._seen[first].views, self._seen[second].views)
