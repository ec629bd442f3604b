"""compare: paired comparison of runs that were evaluated on the same clips, with the first one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.csv_table import csv_text
from data_prep.files import write_text_atomically
from pipeline.errors import UserError
from pipeline.evaluation.evaluation_files import ClipResult, Key, read_evaluation
from pipeline.evaluation.training_overlap import OTHER_DATA
from pipeline.metrics.classification import paired_difference, score
from pipeline.metrics.intervals import LEVEL
from pipeline.metrics.metrics_schema import Difference


@dataclass(frozen=True)
class EvaluatedRun:
    """A run's evaluation."""

    name: str
    clips: dict[Key, ClipResult]
    metrics: dict[str, Any]

    @property
    def trained_on(self) -> int | None:
        """Number of evaluated clips that the model was trained on; None if this was not checked."""
        warm_start = self.metrics["reproduction"].get("begun_from")
        if self.metrics["evaluated_on"] != OTHER_DATA and not warm_start:
            return 0  # eval leaves out training clips, but not those of a warm start
        return self._known("trained_on")

    @property
    def leaking(self) -> int | None:
        """Number of evaluated clips that share a recording with training clips; None if this was
        not checked."""
        return self._known("judged", "n_leaking")

    def _known(self, *keys: str) -> int | None:
        """A number of the leak audit; None instead of 0 if not all training clips were compared."""
        audit = found = self.metrics["audit"]
        if audit is None:
            return None
        for key in keys:
            found = found[key]
        return int(found) if found or audit["with_training"] else None


def read_evaluated_run(run: Path) -> EvaluatedRun:
    """Read the evaluation in a run folder (its eval/), or in a folder that eval wrote.

    Raises UserError.
    """
    kept = read_evaluation(run)
    return EvaluatedRun(_name(run), kept.clips, kept.metrics)


def refuse_other_clips(runs: Sequence[EvaluatedRun]) -> None:
    """Raise UserError if the evaluations are not of the same clips with the same labels."""
    first = runs[0]
    for other in runs[1:]:
        mine, theirs = set(first.clips), set(other.clips)
        if mine != theirs:
            raise UserError(
                f"{first.name} and {other.name} were evaluated on different clips: "
                f"{len(mine - theirs)} only in {first.name}, {len(theirs - mine)} only in "
                f"{other.name} (for example {min(mine ^ theirs)[0]}); evaluate both on one set, "
                "with eval --data and --out"
            )
        for key, result in first.clips.items():
            if other.clips[key].label != result.label:
                raise UserError(
                    f"{key[0]} has the label '{result.label}' in {first.name} and "
                    f"'{other.clips[key].label}' in {other.name}; evaluate both on one set"
                )


def _name(run: Path) -> str:
    path = run.resolve()
    return path.parent.name if path.name == "eval" else path.name  # RUN/eval → RUN


COMPARE_JSON, COMPARE_CSV, COMPARE_PAGE = "compare.json", "changed.csv", "compare.html"


@dataclass(frozen=True)
class RunComparison:
    """One run compared with the first, on the clips that all runs have a prediction for."""

    name: str
    scores: dict[str, Any]
    difference: Difference  # its accuracy minus the first one's
    per_class: dict[str, Difference]  # label → difference of recalls
    significant_classes: list[str]
    """Labels whose recalls differ significantly, Bonferroni-corrected for the number of labels."""
    gained: list[Key]  # clips that it classifies correctly and the first run does not
    lost: list[Key]  # the reverse


@dataclass(frozen=True)
class Comparison:
    """All runs; keys: the clips for which each run has a prediction."""

    runs: list[EvaluatedRun]
    keys: list[Key]
    first: dict[str, Any]  # scores of the first run on these clips
    others: list[RunComparison]

    @property
    def n_left_out(self) -> int:
        return len(self.runs[0].clips) - len(self.keys)


def compare(folders: Sequence[Path], out: Path | None = None) -> Comparison:
    """Compare evaluated runs; with `out`, also write compare.json and changed.csv there.

    Raises UserError for fewer than two runs, or for evaluations on different clips.
    """
    if len(folders) < 2:
        raise UserError("compare needs at least two runs: framewave compare RUN RUN")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is named twice; compare needs different ones")
    runs = _named_apart([read_evaluated_run(folder) for folder in folders], folders)
    refuse_other_clips(runs)
    # a clip may have only a modality that a run does not use
    keys = [key for key in runs[0].clips if all(run.clips[key].predicted for run in runs)]
    if not keys:
        raise UserError("no clip has a prediction from all of these runs")
    labels = sorted({label for run in runs for label in run.metrics["confusion"]["labels"]})
    groups = _groups(runs, keys)
    found = Comparison(
        runs, keys, _scores(runs[0], groups, labels),
        [_compare_runs(runs[0], run, groups, labels) for run in runs[1:]],
    )  # fmt: skip
    if out is not None:
        write_comparison(out, found)
    return found


def _named_apart(runs: list[EvaluatedRun], folders: Sequence[Path]) -> list[EvaluatedRun]:
    """Use whole paths as names if two runs have the same name."""
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [
        EvaluatedRun(str(folder), run.clips, run.metrics)
        for run, folder in zip(runs, folders, strict=True)
    ]


def _groups(runs: Sequence[EvaluatedRun], keys: Sequence[Key]) -> dict[Key, str]:
    """{clip: group}, from the run with the fewest groups."""
    # runs may know groups differently; fewer groups give the wider, more cautious interval
    of_runs = [{key: run.clips[key].group or key[0] for key in keys} for run in runs]
    return min(of_runs, key=lambda groups: len(set(groups.values())))


def _scores(run: EvaluatedRun, groups: Mapping[Key, str], labels: Sequence[str]) -> dict[str, Any]:
    results = [run.clips[key] for key in groups]
    return score(
        [each.label for each in results],
        [each.predicted for each in results],
        labels,
        list(groups.values()),
    )


def _compare_runs(
    first: EvaluatedRun, other: EvaluatedRun, groups: Mapping[Key, str], labels: Sequence[str]
) -> RunComparison:
    pairs: list[tuple[Key, ClipResult, ClipResult]] = [
        (k, first.clips[k], other.clips[k]) for k in groups
    ]

    def difference(
        selected: Sequence[tuple[Key, ClipResult, ClipResult]], level: float = LEVEL
    ) -> Difference:
        return paired_difference(
            [b.right for _, _, b in selected], [a.right for _, a, _ in selected],
            [groups[key] for key, _, _ in selected], level,
        )  # fmt: skip

    of_label = {label: [pair for pair in pairs if pair[1].label == label] for label in labels}
    of_label = {
        label: pairs_of_label for label, pairs_of_label in of_label.items() if pairs_of_label
    }
    strict = 1 - (1 - LEVEL) / len(of_label)  # Bonferroni
    return RunComparison(
        other.name,
        _scores(other, groups, labels),
        difference(pairs),
        {label: difference(pairs_of_label) for label, pairs_of_label in of_label.items()},
        [
            label
            for label, pairs_of_label in of_label.items()
            if is_significant(difference(pairs_of_label, strict))
        ],
        [key for key, a, b in pairs if b.right and not a.right],
        [key for key, a, b in pairs if a.right and not b.right],
    )


def is_significant(difference: Difference) -> bool:
    """Whether the interval excludes 0."""
    low, high = difference.low, difference.high
    return low is not None and high is not None and (low > 0 or high < 0)


def write_comparison(folder: Path, found: Comparison) -> None:
    """Write compare.json, and changed.csv with the clips on which the predictions differ."""
    content = {
        "version": 1,
        "n": len(found.keys),
        "n_left_out": found.n_left_out,
        "first": {**_named(found.runs[0]), **found.first},
        "others": [
            {
                **_named(run),
                **other.scores,
                "difference": other.difference.model_dump(),
                "recall_differences": {k: v.model_dump() for k, v in other.per_class.items()},
                "gained": len(other.gained),
                "lost": len(other.lost),
            }
            for run, other in zip(found.runs[1:], found.others, strict=True)
        ],
    }
    write_text_atomically(folder / COMPARE_JSON, json.dumps(content, indent=1) + "\n")
    names = [run.name for run in found.runs]
    header = ["path", "start_s", "end_s", "label", "group", *(f"predicted_{n}" for n in names),
              *(f"probability_{n}" for n in names)]  # fmt: skip
    write_text_atomically(folder / COMPARE_CSV, csv_text(header, _changed(found)))


def _named(run: EvaluatedRun) -> dict[str, Any]:
    """Name of the run, and how many clips overlap or share recordings with its training clips."""
    return {"run": run.name, "trained_on": run.trained_on, "leaking": run.leaking}


def changed_clips(found: Comparison) -> list[tuple[Key, list[ClipResult]]]:
    """Clips on which the predictions differ, with the result of each run."""
    by_clip = ((key, [run.clips[key] for run in found.runs]) for key in found.keys)
    return [
        (key, results) for key, results in by_clip if len({each.predicted for each in results}) > 1
    ]


def _changed(found: Comparison) -> list[list[str]]:
    return [
        [*key, results[0].label, results[0].group, *(each.predicted for each in results),
         *(each.probability for each in results)]
        for key, results in changed_clips(found)
    ]  # fmt: skip
