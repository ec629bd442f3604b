"""Plots are SVG text in the page's colours, the same bytes for the same numbers."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pipeline.page import plots

ODD = ["$x$", "<script>alert(1)</script>", "ü" * 80, "عربى"]


def _all() -> dict[str, str]:
    point = {"coverage": 0.5, "accuracy": 0.9}
    one = {"mean_probability": 0.6, "accuracy": 0.5, "interval": [0.3, 0.7]}
    curve = np.array([[0.0, 1.0], [0.5, 0.9], [1.0, 0.4]])
    return {
        "confusion": plots.confusion_plot(ODD, np.eye(4, dtype=int).tolist()),
        "comparison": plots.comparison_plot(["the model", "x"], [0.5, 0.2], [[0.4, 0.6], None]),
        "calibration": plots.calibration_plot([one, one | {"interval": None}]),
        "coverage": plots.coverage_plot([point, point | {"coverage": 1.0}]),
        "ranking": plots.ranking_plot(dict.fromkeys(ODD, curve)),
    }


def test_they_are_well_formed_and_labels_stay_text() -> None:
    for name, svg in _all().items():
        ElementTree.fromstring(svg)
        assert svg.startswith("<svg ")
        assert "<script" not in svg, name
    assert "&lt;script&gt;" in _all()["confusion"]
    assert "$x$" in _all()["confusion"]


def test_colours_are_the_pages_and_identifiers_are_their_own() -> None:
    made = _all()
    for name, svg in made.items():
        assert "var(--" in svg
        assert "#0102" not in svg
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert all(each.startswith(f"{name}-") for each in ids)
        assert len(ids) == len(set(ids))
        for used in re.findall(r'(?:href="#|url\(#)([^")]+)', svg):
            assert used in ids


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert _all() == _all()


def test_training_curves_count_epochs_from_one(tmp_path: Path) -> None:
    log = tmp_path / "epochs.csv"
    assert plots.curves_plot(log) == ""
    log.write_text(
        "epoch,train_loss,val_loss,val_macro_f1\n0,2.0,1.5,0.4\n1,1.0,,\n2,0.5,0.9,0.8\n"
    )
    ElementTree.fromstring(plots.curves_plot(log))


def test_sixty_labels_fit() -> None:
    labels = [f"species number {k}" for k in range(60)]
    svg = plots.confusion_plot(labels, np.eye(60, dtype=int).tolist())
    assert len(svg) < 2_000_000
