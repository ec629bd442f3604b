"""A comparison in sentences; each is a rule over the numbers."""

from __future__ import annotations

from pathlib import Path

from pipeline.comparing.compare import Beside, Comparison, is_sure
from pipeline.evaluating.metrics import Difference
from pipeline.page.words import counted, gain_span, joined, points, quoted

_MOST_LABELS = 3


def told(found: Comparison) -> list[str]:
    """Of each run against the first: whether it is better, on what, and which clips changed."""
    first = found.runs[0].name
    sentences = []
    for other in found.others:
        sentences.append(verdict(first, other))
        sentences += filter(None, (classes(other), changes(other)))
    if found.n_left_out:
        sentences.append(
            f"{counted(found.n_left_out, 'clip')} that not all runs could judge "
            f"{'is' if found.n_left_out == 1 else 'are'} left out."
        )
    return sentences


def verdict(first: str, other: Beside) -> str:
    """Better, worse, or neither for certain."""
    difference = other.difference
    gain = difference.mean
    if gain == 0:
        return f"{other.name} is right as often as {first}."
    if difference.low is None:
        sure = ", from too few groups to say whether that is chance"
    else:
        sure = f"{'' if is_sure(difference) else ', which may be chance'} ({_span(difference)})"
    how = "better" if gain > 0 else "worse"
    return f"{other.name} is {points(abs(gain)).lstrip('+')} points {how} than {first}{sure}."


def classes(other: Beside) -> str:
    """Labels on which the two differ by more than chance."""
    if not other.sure_classes:
        return ""
    gains = {label: other.per_class[label].mean for label in other.sure_classes}
    ordered = sorted(gains, key=lambda label: -abs(gains[label]))
    parts = [f"{quoted(label)} {points(gains[label])}" for label in ordered]
    return (
        "Labels found more or less often by more than chance, in points: "
        f"{joined(parts, _MOST_LABELS)}."
    )


def changes(other: Beside) -> str:
    """Clips named rightly by one alone; nothing where there is none."""
    if not other.gained and not other.lost:
        return ""
    gained = f"{counted(len(other.gained), 'clip')} became right"
    lost = f"{counted(len(other.lost), 'clip')} became wrong"
    examples = [Path(key[0]).name for key in (other.lost or other.gained)[:1]]
    return f"{gained}, {lost} (for example {examples[0]})."


def _span(difference: Difference) -> str:
    return gain_span({"low": difference.low, "high": difference.high})
