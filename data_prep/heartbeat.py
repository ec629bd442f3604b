"""A sign of life from long loops over packets and frames, for whoever watches the process."""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[], None] | None = None
_planned_s = 0.0


def listen(listener: Callable[[], None] | None) -> None:
    """Have `listener` called at every pulse; a worker tells its parent now and then."""
    global _listener, _planned_s
    _listener, _planned_s = listener, 0.0


def pulse() -> None:
    """One packet or frame further."""
    if _listener is not None:
        _listener()


def plan(length_s: float) -> None:
    """Seconds of recording that are about to be worked through."""
    global _planned_s
    _planned_s = max(_planned_s, length_s)


def planned_s() -> float:
    return _planned_s
