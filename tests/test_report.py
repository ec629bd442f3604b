from dataclasses import replace

import numpy as np
import pytest

from data_prep.dataset.manifest import ManifestRow
from data_prep.status import Status
from pipeline.evaluating.clips import EvaluatedClip
from pipeline.evaluating.evaluation import Evaluation
from pipeline.evaluating.metrics import score
from pipeline.evaluating.plots import comparison_plot, confusion_plot
from pipeline.evaluating.report import headline, warnings
from pipeline.records.predictions import Prediction

LABELS = ("cat", "dog")


def evaluation(tmp_path, truth: str, predicted: str, baseline: float, groups: int) -> Evaluation:
    names = {"c": "cat", "d": "dog"}
    clips = []
    for i, (t, p) in enumerate(zip(truth, predicted, strict=True)):
        row = ManifestRow(f"/{i}.mp4", label=names[t], group=str(i % groups))
        chances = np.array([0.8, 0.2]) if p == "c" else np.array([0.2, 0.8])
        clips.append(EvaluatedClip(row, Prediction(row.path, Status.OK, "", chances), None))
    metrics = score([names[t] for t in truth], [names[p] for p in predicted], LABELS)
    gain = metrics["accuracy"] - baseline
    metrics["baselines"] = {
        "majority": {
            "accuracy": baseline,
            "difference": {"mean": gain, "low": gain - 0.1, "high": gain + 0.1, "n_groups": 9},
        },
        "presence": {"accuracy": 0.0, "difference": {"mean": 1, "low": None, "high": None}},
    }
    return Evaluation(tmp_path, "the test split", LABELS, clips, metrics, [])


@pytest.mark.parametrize(("baseline", "says"), [(0.5, "points above it"), (0.9, "does not beat")])
def test_the_verdict_follows_the_numbers(tmp_path, baseline: float, says: str) -> None:
    text = " ".join(headline(evaluation(tmp_path, "ccdd", "ccdc", baseline, 2)))
    assert "names 75.0% rightly" in text
    assert says in text
    assert "weakest on “dog” (50% of 2 found), most often taken for “cat”" in text


def test_what_may_be_chance_is_called_so(tmp_path) -> None:
    sure = " ".join(headline(evaluation(tmp_path, "ccdd", "ccdc", 0.5, 2)))
    assert "chance" not in sure
    assert "(95 % interval +15.0 to +35.0, 9 groups.)" in sure
    unsure = " ".join(headline(evaluation(tmp_path, "ccdd", "ccdc", 0.7, 2)))
    assert "That may be chance (95 % interval -5.0 to +15.0, 9 groups)." in unsure


def test_labels_that_presence_tells_are_pointed_at(tmp_path) -> None:
    whole = evaluation(tmp_path, "ccdd", "ccdc", 0.5, 2)
    assert "recorded differently" not in " ".join(headline(whole))
    whole.metrics["baselines"]["presence"]["accuracy"] = 0.9
    assert "(+40.0 points): the labels were recorded differently" in " ".join(headline(whole))


def test_no_weakness_is_named_where_there_is_none(tmp_path) -> None:
    assert "weakest" not in " ".join(headline(evaluation(tmp_path, "ccdd", "ccdd", 0.5, 2)))


def test_warnings_appear_and_do_not(tmp_path) -> None:
    few = warnings(evaluation(tmp_path, "ccdd", "ccdd", 0.5, 4))
    assert any("Only 4 clips" in text for text in few)
    assert any("its own group" in text for text in few)
    many = warnings(evaluation(tmp_path, "cd" * 60, "cd" * 60, 0.5, 7))
    assert many == []
    one_sided = warnings(evaluation(tmp_path, "c" * 120, "c" * 120, 0.5, 7))
    assert one_sided == ["No clip here has the label dog: nothing is known about it."]


def test_failed_files_are_counted(tmp_path) -> None:
    whole = evaluation(tmp_path, "cd" * 60, "cd" * 60, 0.5, 7)
    failed = EvaluatedClip(ManifestRow("/x", label="cat"), Prediction("/x", Status.CRASHED), None)
    found = warnings(replace(whole, clips=[*whole.clips, failed]))
    assert found == ["1 labelled files could not be used: 1 crashed."]


def test_plots_are_svg_text_and_survive_strange_labels() -> None:
    svg = confusion_plot(["$x$", "<b>", "ü" * 80], [[1, 0, 0], [0, 2, 1], [0, 0, 3]])
    assert svg.startswith("<svg")
    assert "<b>" not in svg
    assert "&lt;b&gt;" in svg
    assert comparison_plot(["model"], [0.5]) == comparison_plot(["model"], [0.5])
