"""Plots of the report as SVG text; their colours follow the page's light or dark theme."""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from pipeline.text_format import percent, short

mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: searchable, and in the page's font
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
# characters that XML 1.0 forbids, which file and label names can contain
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")

# Placeholder colours, replaced by the page's CSS variables after drawing.
_INK, _ACCENT, _QUIET, _SECOND = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {_INK: "ink", _ACCENT: "accent", _QUIET: "plot-quiet", _SECOND: "second"}
_SHARES = ([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
_FEW_SHARES = ([0, 0.5, 1.0], ["0", "50 %", "100 %"])
MOST_NUMBERED = 20  # labels; cells of larger matrices have no room for numbers
_DEEPEST = 0.55  # opacity of 100 %; text on top must stay legible
_LEAST_CLIPS = 10  # an accuracy of fewer clips is mostly noise
_MOST_LETTERS = 48  # of horizontal labels that fit under a confusion matrix
MOST_CURVES = 12  # more panels would be too small to read
_PANELS_PER_ROW = 4


def confusion_plot(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Confusion matrix [K, K]: true labels in rows; shade and percentage per row, counts below."""
    matrix = np.asarray(counts, dtype=float)
    # labels without clips have an empty row
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    per_label = 0.62 if len(labels) <= MOST_NUMBERED else 0.22
    size = min(13.0, 2.6 + per_label * len(labels))
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    # varying opacity instead of colour, so that it works on a light and on a dark page
    shades = LinearSegmentedColormap.from_list("", [(*to_rgb(_ACCENT), a) for a in (0, _DEEPEST)])
    axes.pcolormesh(share, cmap=shades, vmin=0, vmax=1, edgecolors=_QUIET, linewidth=0.3)
    axes.invert_yaxis()  # first label at the top, as in a table
    axes.set_aspect("equal")
    if len(labels) <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                column + 0.5, row + 0.5, f"{share[row, column]:.0%}\n{int(matrix[row, column])}",
                ha="center", va="center", fontsize=8, color=_INK,
            )  # fmt: skip
    names = [_escaped(short(label, 24)) for label in labels]
    centres = np.arange(len(labels)) + 0.5
    font_size = 10 if len(labels) <= MOST_NUMBERED else 7
    horizontal = len(labels) <= 6 and len(labels) * max(map(len, names)) <= _MOST_LETTERS
    axes.set_xticks(centres, names, rotation=0 if horizontal else 90, fontsize=font_size)
    axes.set_yticks(centres, names, fontsize=font_size)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    return _svg(figure, "confusion", bbox_inches="tight", pad_inches=0.05)


def comparison_plot(
    names: Sequence[str], values: Sequence[float], intervals: Sequence[Sequence[float] | None]
) -> str:
    """Bars of accuracy with intervals, of a model (first) and its baselines, or of runs."""
    figure = Figure(figsize=(5.2, 0.9 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    colours = [_ACCENT, *([_QUIET] * (len(names) - 1))]
    axes.barh(range(len(names)), values, color=colours, height=0.4)
    for row, (value, interval) in enumerate(zip(values, intervals, strict=True)):
        right = value if interval is None else interval[1]
        if interval is not None:
            axes.plot(interval, [row, row], color=_INK, linewidth=1.4, solid_capstyle="butt")
        axes.text(right + 0.015, row, percent(value), va="center", color=_INK)
        # names above the bars: to the left of them they would take half of a narrow screen
        axes.text(0.0, row - 0.26, _escaped(names[row]), va="bottom", color=_INK)
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.7, -0.75)
    axes.set_xlim(0, 1.15)  # room for the number after a full bar
    axes.set_xticks(*_SHARES)
    axes.set_xlabel("accuracy, with 95 % interval")
    return _svg(figure, "comparison")


def calibration_plot(bins: Sequence[Mapping[str, Any]]) -> str:
    """Reliability diagram: accuracy against mean probability, in bins of equal numbers of clips."""
    figure, axes = _square()
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    for b in bins:
        if b["interval"] is not None:
            place = b["mean_probability"]
            axes.plot([place, place], b["interval"], color=_QUIET, linewidth=2)
    axes.plot(
        [b["mean_probability"] for b in bins], [b["accuracy"] for b in bins],
        color=_ACCENT, marker="o", linewidth=1.4,
    )  # fmt: skip
    axes.set_xlabel("probability of the predicted label")
    axes.set_ylabel("accuracy")
    return _svg(figure, "calibration")


def coverage_plot(points: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy of the most confident clips against the share of clips kept, from ten clips on."""
    figure, axes = _square()
    # or points: a set of few clips has a curve too
    points = [point for point in points if point["n"] >= _LEAST_CLIPS] or points
    coverage = [point["coverage"] for point in points]
    axes.plot(coverage, [point["accuracy"] for point in points], color=_ACCENT, linewidth=1.8)
    axes.set_xlabel("share of clips that get a label, most confident first")
    axes.set_ylabel("accuracy on these clips")
    return _svg(figure, "coverage")


def ranking_plot(curves: Mapping[str, np.ndarray | None]) -> str:
    """Precision-recall curves, {label: [P, 2] of (recall, precision)}.

    One panel for each of at most MOST_CURVES labels, with the curves of the others behind it.
    """
    known = [(label, curve) for label, curve in curves.items() if curve is not None][:MOST_CURVES]
    n_columns = max(1, min(_PANELS_PER_ROW, len(known)))
    rows = max(1, math.ceil(len(known) / n_columns))
    side = 4.1 if len(known) <= 1 else 2.1
    figure = Figure(figsize=(0.5 + side * n_columns, 0.5 + side * rows), layout="constrained")
    grid = figure.subplots(rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for number, axes in enumerate(grid.flat):  # the grid can have more cells than labels
        if number >= max(1, len(known)):
            axes.set_visible(False)
            continue
        _share_axes(axes, _FEW_SHARES)
        for other, (label, curve) in enumerate(known):
            is_own = other == number
            axes.step(
                curve[:, 0], curve[:, 1], where="pre", color=_ACCENT if is_own else _QUIET,
                linewidth=1.8 if is_own else 0.6, zorder=2 if is_own else 1,
            )  # fmt: skip
            if is_own and len(known) > 1:
                axes.set_title(_escaped(short(label, 24)), fontsize=9, color=_INK)
        # the panel below may be one that is left out
        axes.tick_params(labelbottom=number + n_columns >= len(known))
    figure.supxlabel("recall", color=_INK, fontsize=10)
    figure.supylabel("precision", color=_INK, fontsize=10)
    return _svg(figure, "ranking")


_STYLES = ("-", "--", ":", "-.")  # of the baselines, which share a colour


def horizon_plot(
    series: Mapping[str, Sequence[Mapping[str, Any]]], step_s: float, score: str = "accuracy"
) -> str:
    """A score by time ahead: the model (first) with its interval, and the baselines.

    series: {name: rows with horizon in steps, and with the score and its interval}. score: accuracy
    or mae, mean absolute error.
    """
    is_share, interval = score == "accuracy", f"{score}_interval"
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(series.items()):
        known = [row for row in rows if row[score] is not None]
        ahead_s = [row["horizon"] * step_s for row in known]
        style: dict[str, Any] = {"color": _ACCENT, "linewidth": 2, "marker": "o", "markersize": 4}
        if number:
            style = {"color": _INK, "linewidth": 1, "linestyle": _STYLES[(number - 1) % 4]}
        elif all(row[interval] is not None for row in known):
            low, high = zip(*(row[interval] for row in known), strict=True)
            axes.fill_between(ahead_s, low, high, color=_ACCENT, alpha=0.2, linewidth=0)
        axes.plot(ahead_s, [row[score] for row in known], label=_escaped(name), **style)
    axes.set_ylim(0, 1.02 if is_share else None)
    if is_share:
        axes.set_yticks(*_SHARES)
    axes.set_xlabel("seconds ahead")
    axes.set_ylabel("accuracy" if is_share else "mean absolute error")
    axes.legend(frameon=False, labelcolor=_INK, fontsize=8, loc="lower left" if is_share else None)
    return _svg(figure, "horizon")


def curves_plot(epochs_csv: Path) -> str:
    """Losses and validation macro-F1 by epoch, "" if there is no log."""
    if not epochs_csv.is_file() or not epochs_csv.stat().st_size:
        return ""
    table = np.genfromtxt(epochs_csv, delimiter=",", names=True, ndmin=1)
    epoch = table["epoch"] + 1  # people count from 1
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    upper.plot(epoch, table["train_loss"], color=_SECOND, linestyle="--", label="training loss")
    upper.plot(epoch, table["val_loss"], color=_ACCENT, label="validation loss")
    upper.legend(frameon=False, labelcolor=_INK)
    lower.plot(epoch, table["val_macro_f1"], color=_ACCENT)
    lower.set_ylim(0, 1.05)  # fixed, so that plots of different runs can be compared
    lower.set_ylabel("validation macro-F1")
    for axes in (upper, lower):
        axes.set_xlabel("epoch")
    return _svg(figure, "training")


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 4.1), layout="constrained")
    axes = figure.subplots()
    _share_axes(axes, _SHARES)
    return figure, axes


def _share_axes(axes: Axes, ticks: tuple[list[float], list[str]]) -> None:
    """Both axes from 0 to 100 %."""
    axes.set_xlim(0, 1.02)  # a line at 100 % is not cut in half
    axes.set_ylim(0, 1.02)
    axes.set_xticks(*ticks)
    axes.set_yticks(*ticks)


def _svg(figure: Figure, name: str, **saving: Any) -> str:
    """The figure as SVG text. name: prefix that keeps its ids unique on the page."""
    figure.patch.set_alpha(0)  # the page's background shows through
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=_INK)
        axes.xaxis.label.set_color(_INK)
        axes.yaxis.label.set_color(_INK)
        for spine in axes.spines.values():
            spine.set_color(_QUIET)
    buffer = io.StringIO()
    # a fixed salt: the same numbers give the same bytes
    with mpl.rc_context({"svg.hashsalt": name}):
        # no date: it would change the bytes
        figure.savefig(buffer, format="svg", metadata={"Date": None}, **saving)
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - our own
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _themed(key, value, name))
    root.set("aria-hidden", "true")  # the page describes each plot in words
    root.set("focusable", "false")
    return ElementTree.tostring(root, encoding="unicode")


def _themed(key: str, value: str, name: str) -> str:
    """An attribute's value with the page's colours and unique ids."""
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, f"var(--{variable})")
    return value


def _escaped(label: str) -> str:
    # matplotlib reads $ as the start of a formula and hides legend entries that begin with "_"
    label = _NOT_IN_XML.sub("\ufffd", label).replace("$", r"\$")
    return f"\u200b{label}" if label.startswith("_") else label
