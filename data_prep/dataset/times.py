"""Times as people write them in tables: seconds, minutes and seconds, hours, with a unit."""

from __future__ import annotations

import re

_NOTHING = frozenset({"", "na", "n/a", "nan", "-", "none", "null"})
_NUMBER = re.compile(r"^([0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE]([+-]?[0-9]+))?\s*(s|ms|min|h)?$")
_CLOCK = re.compile(r"^(?:([0-9]+):)?([0-9]{1,4}):([0-9]{1,2}(?:[.,][0-9]*)?)$")
_FRAMES = re.compile(r"^[0-9]+:[0-9]+:[0-9]+[:;][0-9]+$")
_LONGEST_S = 1e9
_UNITS_S = {None: 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}


def parse_time_s(text: str) -> float | None:
    """Seconds of "12.5", "12,5", "1:02.5", "00:01:02.500", "1500 ms"; None for nothing.

    Raises ValueError that says why it is none.
    """
    text = text.strip()
    if text.lower() in _NOTHING:
        return None
    number, clock = _NUMBER.match(text), _CLOCK.match(text)
    if number is not None:
        value = float(number[1].replace(",", ".") + (f"e{number[2]}" if number[2] else ""))
        seconds = value * _UNITS_S[number[3]]
    elif clock is not None:
        hours, minutes, rest = int(clock[1] or 0), int(clock[2]), float(clock[3].replace(",", "."))
        if rest >= 60 or (clock[1] and minutes >= 60):
            raise ValueError(f"'{text}' is not a time: 60 or more in minutes or seconds")
        seconds = 3600.0 * hours + 60.0 * minutes + rest
    elif _FRAMES.match(text):
        raise ValueError(f"'{text}' ends in frames; write hh:mm:ss.mmm")
    elif "," in text and "." in text:
        raise ValueError(f"'{text}' has both . and ,; write 1234.5")
    else:
        raise ValueError(f"'{text}' is not a time in seconds (or mm:ss, hh:mm:ss.mmm)")
    if seconds > _LONGEST_S:
        raise ValueError(f"'{text}' is not a time: longer than anybody records")
    return round(seconds, 6)  # as the manifest keeps it, or the row would not be known again
