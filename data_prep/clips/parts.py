"""Whether a labelled part lies in its file: one rule for scan and for decoding."""

from __future__ import annotations

from data_prep.status import NoUsableStreamError, UnreadableError

BEHIND_THE_END = "the segment starts at"
SHORTEST_S = 0.02  # shorter than a frame of picture or of sound
_MISSING_END_S = 1.0  # unremarked: containers round, and people round up


def check_part(start_s: float | None, end_s: float | None, file_s: float) -> str:
    """What of a part is missing in a file of this length, in words, or "".

    Raises MediaError where there is nothing of it, or as good as nothing.
    """
    begin_s = start_s or 0.0
    if begin_s >= file_s:
        raise UnreadableError(f"{BEHIND_THE_END} {begin_s:g} s, the file ends at {file_s:g} s")
    if end_s is not None and min(end_s, file_s) - begin_s < SHORTEST_S:
        raise NoUsableStreamError(
            f"the segment is {min(end_s, file_s) - begin_s:.3f} s long, at least "
            f"{SHORTEST_S:g} s are needed"
        )
    if end_s is not None and end_s > file_s + _MISSING_END_S:
        return f"the segment ends at {end_s:g} s, the file at {file_s:.1f} s"
    return ""
