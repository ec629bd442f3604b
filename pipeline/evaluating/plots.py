"""Plots of the report as SVG text, readable on a light and on a dark page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

mpl.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "framewave",  # same picture, same bytes
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

_INK, _ACCENT, _QUIET = "#56606b", "#1f77b4", "#b8c0c8"


def confusion_plot(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Rows: true label, columns: predicted; shade and percentage by row, counts below."""
    matrix = np.asarray(counts, dtype=float)
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    size = min(14.0, 2.6 + 0.62 * len(labels))
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for row in range(len(labels)):
            for column in range(len(labels)):
                if matrix[row, column]:
                    axes.text(
                        column, row, f"{share[row, column]:.0%}\n{int(matrix[row, column])}",
                        ha="center", va="center", fontsize=8,
                        color="white" if share[row, column] > 0.55 else "#1b1f24",
                    )  # fmt: skip
    shown = [_short(label) for label in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), shown)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    return _svg(figure)


def comparison_plot(names: Sequence[str], values: Sequence[float]) -> str:
    """Accuracy of the model (first) and the baselines as bars."""
    figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    colours = [_ACCENT, *([_QUIET] * (len(names) - 1))]
    axes.barh(range(len(names)), values, color=colours, height=0.62)
    for row, value in enumerate(values):
        axes.text(value + 0.012, row, f"{value:.1%}", va="center", color=_INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("accuracy")
    return _svg(figure)


def curves_plot(epochs_csv: Path) -> str:
    """Losses and validation macro-F1 over the epochs, or "" where there is no log."""
    if not epochs_csv.is_file():
        return ""
    table = np.genfromtxt(epochs_csv, delimiter=",", names=True, ndmin=1)
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["epoch"], table["train_loss"], color=_QUIET, label="training loss")
    left.plot(table["epoch"], table["val_loss"], color=_ACCENT, label="validation loss")
    left.legend(frameon=False, labelcolor=_INK)
    right.plot(table["epoch"], table["val_macro_f1"], color=_ACCENT)
    right.set_ylim(0, 1.05)
    right.set_ylabel("validation macro-F1")
    for axes in (left, right):
        axes.set_xlabel("epoch")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=_INK)
        axes.xaxis.label.set_color(_INK)
        axes.yaxis.label.set_color(_INK)
        for spine in axes.spines.values():
            spine.set_color(_QUIET)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _short(label: str) -> str:
    # A dollar sign would start a formula.
    label = label if len(label) <= 24 else label[:23] + "…"
    return label.replace("$", r"\$")
