"""Plots are SVG text in the page's colours, the same bytes for the same numbers."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pipeline.report import plots

ODD = [
    "$x$",
    "<script>alert(1)</script>",
    "ü" * 80,
    "عربى",
    "_id #010203",
    'id="x" url(#y)',
    "cat\x07\ufffe",
]


def _all() -> dict[str, str]:
    point = {"coverage": 0.5, "accuracy": 0.9, "n": 20}
    one = {"mean_probability": 0.6, "accuracy": 0.5, "interval": [0.3, 0.7]}
    curve = np.array([[0.0, 1.0], [0.5, 0.9], [1.0, 0.4]])
    return {
        "confusion": plots.confusion_plot(ODD, np.eye(len(ODD), dtype=int).tolist()),
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
    for name in ("confusion", "ranking"):
        texts = "".join(ElementTree.fromstring(_all()[name]).itertext())
        for label in ODD:
            assert label[:23].replace("\x07\ufffe", "\ufffd\ufffd") in texts, (name, label)


def test_colours_are_the_pages_and_identifiers_are_their_own() -> None:
    made = _all()
    for name, svg in made.items():
        assert "var(--" in svg
        root = ElementTree.fromstring(svg)
        attributes = " ".join(v for each in root.iter() for v in each.attrib.values())
        assert "#0102" not in attributes
        ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
        assert all(each.startswith(f"{name}-") for each in ids)
        assert len(ids) == len(set(ids))
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        for used in [*(v[1:] for v in links), *re.findall(r"url\(#([^)]+)\)", attributes)]:
            assert used in ids


def test_the_matrix_has_its_numbers_where_they_belong() -> None:
    svg = plots.confusion_plot(["a", "b"], [[3, 1], [0, 5]])
    texts = [each.text for each in ElementTree.fromstring(svg).iter() if each.text]
    for number in ("75%", "25%", "100%", "3", "1", "5"):
        assert number in [text.strip() for text in texts]
    places = re.findall(r"translate\(([\d.]+) ([\d.]+)\)", svg)
    assert len({x for x, _ in places}) > 3


def test_each_number_moves_its_plot() -> None:
    point = {"coverage": 0.5, "accuracy": 0.9, "n": 20}
    whole = {"coverage": 1.0, "accuracy": 0.8, "n": 40}
    drawn = {
        plots.coverage_plot([{**point, **change}, whole])
        for change in ({}, {"accuracy": 0.7}, {"coverage": 0.3})
    }
    assert len(drawn) == 3
    few = {"coverage": 0.1, "accuracy": 0.0, "n": 4}
    assert plots.coverage_plot([whole, point, few]) == plots.coverage_plot([whole, point])
    one = {"mean_probability": 0.6, "accuracy": 0.5, "interval": [0.3, 0.7]}
    bins = ({}, {"accuracy": 0.4}, {"mean_probability": 0.7}, {"interval": [0.2, 0.7]})
    assert len({plots.calibration_plot([{**one, **change}]) for change in bins}) == 4
    bars = [plots.comparison_plot(["x"], [v], [i]) for v, i in ((0.5, None), (0.6, None),
                                                                (0.5, [0.4, 0.6]))]  # fmt: skip
    assert len(set(bars)) == 3


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert _all() == _all()


def test_training_curves_count_epochs_from_one(tmp_path: Path) -> None:
    log = tmp_path / "epochs.csv"
    assert plots.curves_plot(log) == ""
    log.write_text("")
    assert plots.curves_plot(log) == ""
    log.write_text(
        "epoch,train_loss,val_loss,val_macro_f1\n0,2.0,1.5,0.4\n1,1.0,,\n2,0.5,0.9,0.8\n"
    )
    ElementTree.fromstring(plots.curves_plot(log))


def test_sixty_labels_fit() -> None:
    labels = [f"species number {k}" for k in range(60)]
    svg = plots.confusion_plot(labels, np.eye(60, dtype=int).tolist())
    assert len(svg) < 2_000_000


def test_each_label_has_its_panel_with_its_own_curve_in_colour() -> None:
    curve = np.array([[0.0, 1.0], [0.5, 0.9], [1.0, 0.4]])
    for n, n_shown in ((1, 1), (2, 2), (5, 5), (10, 10), (60, plots.MOST_CURVES)):
        svg = plots.ranking_plot({f"label {k}": curve for k in range(n)} | {"unknown": None})
        assert svg.count("stroke: var(--accent)") == n_shown
        texts = [each.text for each in ElementTree.fromstring(svg).iter() if each.text]
        titles = [text for text in texts if text.startswith("label ")]
        assert titles == ([f"label {k}" for k in range(n_shown)] if n > 1 else [])
    assert "unknown" not in plots.ranking_plot({"unknown": None})
