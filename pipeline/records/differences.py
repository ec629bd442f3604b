"""Where what was begun and what is asked for differ, for messages that name it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def differences(
    here: dict[str, Any], asked: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value here, value asked) of every key here whose value is another."""
    for key, value in here.items():
        other = asked.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{prefix}{key}.")
        elif value != other:
            yield f"{prefix}{key}", value, other
