"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BASELINES = {
    "majority": "always the most frequent label",
    "presence": "only whether there is picture and sound",
    "logistic_default": "logistic regression as scikit-learn comes, on averages over time",
    "logistic_mean": "logistic regression on averages over time",
    "logistic_mean_deviation": "logistic regression on averages and deviations over time",
    "logistic_picture_mean": "logistic regression on averages of the picture",
    "logistic_picture_mean_deviation": "logistic regression on averages and deviations of the "
    "picture",
    "logistic_sound_mean": "logistic regression on averages of the sound",
    "logistic_sound_mean_deviation": "logistic regression on averages and deviations of the sound",
}
_SHORTEST = 40


MUCH = 0.05
"""By how much a probability may miss before it is said, as a share."""


def percent(share: float) -> str:
    """72 %, or 99.6 % where rounding would hide that something is missing; no nearer than 0.1."""
    whole = f"{share * 100:.0f}"
    if (whole == "100" and share < 1) or (whole == "0" and share > 0):
        return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
    return f"{whole} %"


def points(difference: float) -> str:
    """+6, −0.4: a difference of shares in points, with its sign."""
    value = difference * 100
    text = f"{value:+.0f}" if abs(value) >= 1 else f"{value:+.1f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def in_points(difference: float) -> str:
    """+6 points, −1 point."""
    text = points(difference)
    return f"{text} point{'' if text.lstrip('+−') == '1' else 's'}"


def size_in_points(difference: float) -> str:
    """6 points, whatever the sign."""
    return in_points(abs(difference)).removeprefix("+")


def span(interval: Sequence[float] | None) -> str:
    """60–83 %, or that there is none."""
    if interval is None:
        return "too few groups for an interval"
    return f"95 % interval {ends(interval)} %"


def ends(interval: Sequence[float]) -> str:
    """60–83, in percent."""
    return "–".join(percent(value).removesuffix(" %") for value in interval)


def gain_span(difference: dict[str, Any]) -> str:
    """95 % interval +1 to +12 points, or that there is none."""
    if difference["low"] is None:
        return "too few groups for an interval"
    return f"95 % interval {points(difference['low'])} to {points(difference['high'])}"


def short(label: str, most: int = _SHORTEST) -> str:
    """A label that is not too long for a line."""
    return label if len(label) <= most else label[: most - 1] + "…"


def quoted(label: str) -> str:
    return f"“{short(label)}”"


def counted(n: int, one: str, many: str | None = None) -> str:
    """1 clip, 2 clips."""
    return f"{n:,} {one if n == 1 else many or one + 's'}".replace(",", " ")


def duration(seconds: float) -> str:
    """90 s, 12 minutes, 3.5 hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def joined(items: Sequence[str], most: int = 5) -> str:
    """a, b and c, and how many more there are; "" of nothing."""
    shown = list(items[:most])
    rest = len(items) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def trained_on_text(n: int, n_judged: int) -> str:
    """What is said where clips were judged that the model was trained on, or ""."""
    if not n:
        return ""
    return (
        f"{n} of the {counted(n_judged, 'clip')} were trained on: the score says nothing about "
        "how well the model does on others."
    )
