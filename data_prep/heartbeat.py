"""A sign of life from long loops over packets and frames, for whoever watches the process."""

from __future__ import annotations

from collections.abc import Callable

_listener: Callable[[], None] | None = None
_expected_duration_s = 0.0


def set_listener(listener: Callable[[], None] | None) -> None:
    """Have `listener` called at every pulse; a worker tells its parent now and then."""
    global _listener, _expected_duration_s
    _listener, _expected_duration_s = listener, 0.0


def beat() -> None:
    """One packet or frame further."""
    if _listener is not None:
        _listener()


def expect_duration(length_s: float) -> None:
    """Seconds of recording that are about to be worked through."""
    global _expected_duration_s
    _expected_duration_s = max(_expected_duration_s, length_s)


def expected_duration_s() -> float:
    return _expected_duration_s
