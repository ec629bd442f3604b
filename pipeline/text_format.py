"""Formatting of numbers, intervals, labels and lists for messages and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.status import counted as counted  # beside the other words of messages

BASELINES = {
    "majority": "always the most frequent label",
    "presence": "only whether there is picture and sound",
    "logistic_default": "logistic regression with scikit-learn's defaults, on averages over time",
    "logistic_mean": "logistic regression on averages over time",
    "logistic_mean_deviation": "logistic regression on averages and deviations over time",
    "logistic_picture_mean": "logistic regression on averages of the picture",
    "logistic_picture_mean_deviation": "logistic regression on averages and deviations of the "
    "picture",
    "logistic_sound_mean": "logistic regression on averages of the sound",
    "logistic_sound_mean_deviation": "logistic regression on averages and deviations of the sound",
}
_MAX_LABEL_CHARS = 40
NOTABLE_GAP = 0.05  # smaller differences of probability and accuracy are not mentioned


def percent(share: float) -> str:
    """A fraction in percent: 72 %, but 99.6 % or 0.1 % where rounding would give 100 or 0."""
    whole = f"{share * 100:.0f}"
    if (whole == "100" and share < 1) or (whole == "0" and share > 0):
        # with one digit, 99.97 would again be rounded to 100
        return f"{min(max(share * 100, 0.1), 99.9):.1f} %"
    return f"{whole} %"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign: +6, −0.4."""
    value = difference * 100  # below one point, whole numbers would hide the difference
    text = f"{value:+.0f}" if abs(value) >= 1 else f"{value:+.1f}"
    return "0" if float(text) == 0 else text.replace("-", "−")  # not +0.0; a minus, not a hyphen


def in_points(difference: float) -> str:
    """A difference of fractions with the unit: +6 points, −1 point."""
    text = points(difference)
    return f"{text} point{'' if text.lstrip('+−') == '1' else 's'}"


def size_in_points(difference: float) -> str:
    """The size of a difference of fractions, without its sign: 6 points."""
    return in_points(abs(difference)).removeprefix("+")


def span(interval: Sequence[float] | None) -> str:
    """A confidence interval: 95 % interval 60–83 %; or that there is none."""
    if interval is None:
        return "too few groups for an interval"
    return f"95 % interval {ends(interval)} %"


def ends(interval: Sequence[float]) -> str:
    """The bounds of an interval in percent: 60–83."""
    return "–".join(percent(value).removesuffix(" %") for value in interval)


def gain_span(difference: dict[str, Any]) -> str:
    """The interval of a difference, in points: 95 % interval +1 to +12; or that there is none."""
    if difference["low"] is None:
        return "too few groups for an interval"
    return f"95 % interval {points(difference['low'])} to {points(difference['high'])}"


def short(label: str, most: int = _MAX_LABEL_CHARS) -> str:
    """A label, truncated to at most `most` characters."""
    return label if len(label) <= most else label[: most - 1] + "…"


def quoted(label: str) -> str:
    """A label in quotation marks, truncated."""
    return f"“{short(label)}”"


def duration(seconds: float) -> str:
    """A duration: 90 s, 12 minutes, 3.5 hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def joined(items: Sequence[str], most: int = 5) -> str:
    """A list in words, with at most `most` items: "a, b and c", "a, b and 3 more"; "" if empty."""
    shown = list(items[:most])
    rest = len(items) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def horizons_verdict(by_horizon: Sequence[dict[str, Any]], names: Mapping[str, str]) -> str:
    """Whether a forecast is better than the best baseline, and at which horizons.

    by_horizon: rows of the best baseline. names: what each baseline is, with a short name in front.
    """
    # better: the interval of the difference lies above 0
    better = [row for row in by_horizon if (row["difference"]["low"] or 0) > 0]
    if len(better) == len(by_horizon):
        return "It is better than every baseline at every horizon."
    others = {row["baseline"] for row in by_horizon if row not in better}
    worse = f"no better than {joined(sorted(names[name].partition(':')[0] for name in others))}"
    if not better:
        return (
            "At no horizon does the 95 % interval show that it is better than the baselines: it is "
            f"{worse}."
        )
    horizons = joined([str(row["horizon"]) for row in better], most=20)
    return f"It is better than every baseline {horizons} steps ahead; at the others it is {worse}."


def trained_on_text(n: int, n_evaluated: int) -> str:
    """A warning if n of the n_evaluated clips were used for training, else ""."""
    if not n:
        return ""
    return (
        f"The model was trained on {n} of the {counted(n_evaluated, 'clip')}: the score says "
        "nothing about its accuracy on other clips."
    )
