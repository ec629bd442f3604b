"""Heartbeats from long loops over packets and frames, for the process that supervises this one."""

from __future__ import annotations

from collections.abc import Callable

# module state: one decoding process works on one file at a time
_listener: Callable[[], None] | None = None
_expected_duration_s = 0.0


def set_listener(listener: Callable[[], None] | None) -> None:
    """Call `listener` at every heartbeat from now on; None to stop. Resets the duration."""
    global _listener, _expected_duration_s
    _listener, _expected_duration_s = listener, 0.0


def beat() -> None:
    """Report progress by one packet or frame."""
    if _listener is not None:
        _listener()


def expect_duration(duration_s: float) -> None:
    """Announce the duration, in seconds, of the recording that is about to be decoded."""
    global _expected_duration_s
    # the tracks of a file announce theirs one by one: the longest counts
    _expected_duration_s = max(_expected_duration_s, duration_s)


def expected_duration_s() -> float:
    """The longest duration announced since `set_listener`."""
    return _expected_duration_s
