"""report.html: one file that opens from disk, made from an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from data_prep.files import write_text_atomically
from pipeline.checkpoints.checkpoint import LoadedModel
from pipeline.evaluating.clips import EvaluatedClip
from pipeline.evaluating.evaluation import Evaluation, failed_statuses
from pipeline.evaluating.plots import comparison_plot, confusion_plot, curves_plot
from pipeline.records.run_record import read_run_record
from pipeline.training.callbacks import EPOCHS_NAME

_BASELINE_NAMES = {
    "majority": "always the most frequent label",
    "presence": "only whether there is picture and sound",
    "logistic_mean": "logistic regression on averages over time",
    "logistic_mean_deviation": "logistic regression on averages and deviations",
    "logistic_picture_mean": "logistic regression on averages of the picture",
    "logistic_picture_mean_deviation": "logistic regression on averages and deviations of the "
    "picture",
    "logistic_sound_mean": "logistic regression on averages of the sound",
    "logistic_sound_mean_deviation": "logistic regression on averages and deviations of the sound",
}
_WORST = 20
_TELLING = 0.05  # accuracy above guessing, by presence of picture and sound alone


def write_report(path: Path, evaluation: Evaluation, model: LoadedModel) -> None:
    """Render the page and write it by temporary file and rename."""
    environment = Environment(
        loader=PackageLoader("pipeline.evaluating"), autoescape=select_autoescape(default=True)
    )
    page = environment.get_template("report.html.j2").render(_context(evaluation, model))
    write_text_atomically(path, page)


def headline(evaluation: Evaluation) -> list[str]:
    """The answer in sentences, each computed from the metrics."""
    metrics = evaluation.metrics
    labels = len(evaluation.labels)
    sentences = [
        f"On {metrics['n']} clips of {evaluation.what} the model names "
        f"{metrics['accuracy']:.1%} rightly ({labels} labels, macro-F1 {metrics['macro_f1']:.2f})."
    ]
    baselines = metrics["baselines"]
    if baselines:
        name = max(baselines, key=lambda key: baselines[key]["accuracy"])
        best = baselines[name]["accuracy"]
        sentences.append(
            f"The best simple method, {_BASELINE_NAMES[name]}, reaches {best:.1%}. "
            + _verdict(baselines[name]["difference"])
        )
        presence = baselines["presence"]["accuracy"] - baselines["majority"]["accuracy"]
        if presence > _TELLING:
            sentences.append(
                f"Whether a clip has picture and sound at all tells its label more often than "
                f"guessing does ({presence * 100:+.1f} points): the labels were recorded "
                "differently, and the model may have learned that."
            )
    weakest = _weakest(evaluation)
    if weakest:
        sentences.append(weakest)
    return sentences


def _verdict(difference: dict[str, Any]) -> str:
    """Whether the model beats the best simple method, and whether that could be chance."""
    gain, low, high = difference["mean"], difference["low"], difference["high"]
    if gain <= 0:
        verdict = (
            f"The model does not beat it ({gain * 100:+.1f} points): on these clips its training "
            "was not worth it."
        )
    else:
        verdict = f"The model is {gain * 100:.1f} points above it."
    if low is None:
        return verdict
    span = f"95 % interval {low * 100:+.1f} to {high * 100:+.1f}, {difference['n_groups']} groups"
    if gain > 0 and low <= 0:
        return f"{verdict} That may be chance ({span})."
    return f"{verdict} ({span[0].upper()}{span[1:]}.)"


def warnings(evaluation: Evaluation) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = list(evaluation.notes)
    n = evaluation.metrics["n"]
    if n < 100:
        found.append(
            f"Only {n} clips: one clip more or less right moves the accuracy by {1 / n:.1%}."
        )
    groups = {clip.row.group for clip in evaluation.judged if clip.row.group}
    if groups and len(groups) == n:
        found.append(
            "Every clip is its own group: if several come from one recording, day or camera, the "
            "score flatters. Give a group column to be sure."
        )
    absent = [
        label for label, values in evaluation.metrics["per_class"].items() if values["support"] == 0
    ]
    if absent:
        found.append(f"No clip here has the label {', '.join(absent)}: nothing is known about it.")
    failed = failed_statuses(evaluation.clips)
    if failed:
        parts = ", ".join(f"{count} {status}" for status, count in sorted(failed.items()))
        found.append(f"{sum(failed.values())} labelled files could not be used: {parts}.")
    return found


def _weakest(evaluation: Evaluation) -> str:
    per_class = {
        label: values
        for label, values in evaluation.metrics["per_class"].items()
        if values["support"]
    }
    label = min(per_class, key=lambda key: (per_class[key]["recall"], key))
    if per_class[label]["recall"] == 1.0:
        return ""
    row = evaluation.labels.index(label)
    counts = evaluation.metrics["confusion"]["counts"][row]
    others = [(count, i) for i, count in enumerate(counts) if i != row]
    other = evaluation.labels[max(others)[1]]
    return (
        f"It is weakest on “{label}” ({per_class[label]['recall']:.0%} of "
        f"{per_class[label]['support']} found), most often taken for “{other}”."
    )


def _context(evaluation: Evaluation, model: LoadedModel) -> dict[str, Any]:
    metrics = evaluation.metrics
    names, values = ["the model"], [metrics["accuracy"]]
    for key, result in metrics["baselines"].items():
        names.append(_BASELINE_NAMES[key])
        values.append(result["accuracy"])
    confusion = metrics["confusion"]
    record = read_run_record(evaluation.run)
    return {
        "title": evaluation.run.name,
        "headline": headline(evaluation),
        "warnings": warnings(evaluation),
        "metrics": metrics,
        "baselines": [
            (_BASELINE_NAMES[key], result) for key, result in metrics["baselines"].items()
        ],
        "comparison_svg": Markup(comparison_plot(names, values)),  # noqa: S704 - our own SVG
        "confusion_svg": Markup(confusion_plot(confusion["labels"], confusion["counts"])),  # noqa: S704
        "curves_svg": Markup(curves_plot(evaluation.run / EPOCHS_NAME)),  # noqa: S704
        "worst": _worst(evaluation),
        "failed": [c for c in evaluation.clips if not c.prediction.status.usable],
        "labels": evaluation.labels,
        "card": model.card,
        "digest": model.digest,
        "record": record,
    }


def _worst(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The clips whose true label got the least probability, worst first."""

    def truth(clip: EvaluatedClip) -> float:
        assert clip.prediction.probabilities is not None
        return float(clip.prediction.probabilities[evaluation.labels.index(clip.row.label)])

    wrong = [
        clip
        for clip in evaluation.judged
        if clip.prediction.predicted(evaluation.labels) != clip.row.label
    ]
    return [
        {
            "name": Path(clip.row.path).name,
            "path": clip.row.path,
            "label": clip.row.label,
            "predicted": clip.prediction.predicted(evaluation.labels),
            "p_true": truth(clip),
            "p_predicted": float(clip.prediction.probabilities.max()),  # type: ignore[union-attr]
            "group": clip.row.group,
        }
        for clip in sorted(wrong, key=truth)[:_WORST]
    ]
