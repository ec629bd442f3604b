"""What a run's evaluation said of each clip, read from its table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checkpoints.card import MODEL_JSON, read_description
from pipeline.errors import UserError
from pipeline.evaluating.metrics import METRICS_VERSION
from pipeline.evaluating.table import Key, Said, read_said


@dataclass(frozen=True)
class Judged:
    """One evaluation."""

    name: str
    clips: dict[Key, Said]
    metrics: dict[str, Any]


def read_judged(run: Path) -> Judged:
    """Of a run folder (its eval/), or of a folder that eval wrote. Raises UserError."""
    folder = run if (run / "metrics.json").is_file() else run / "eval"
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        clips = read_said(folder / "predictions.csv")
        labels = {*metrics["confusion"]["labels"], ""}
        is_current, model = metrics["version"] == METRICS_VERSION, str(metrics["model"])
    except FileNotFoundError as error:
        raise UserError(
            f"{run} was not evaluated ({error.filename} is not there); run "
            f"`framewave eval --run {run}` first"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the evaluation in {folder} cannot be read ({error})") from error
    if not clips:
        raise UserError(f"the evaluation in {folder} holds no clip")
    if not is_current:
        raise UserError(f"the evaluation in {folder} is an older framewave's; run eval again")
    if any(not {said.predicted, said.label} <= labels for said in clips.values()):
        raise UserError(f"{folder / 'predictions.csv'} names labels that the model does not know")
    if folder != run and (run / MODEL_JSON).is_file() and read_description(run).digest != model:
        raise UserError(
            f"the model in {run} is another one than was evaluated; run "
            f"`framewave eval --run {run}` again"
        )
    return Judged(_name(run), clips, metrics)


def refuse_other_clips(runs: Sequence[Judged]) -> None:
    """Raise UserError where two evaluations are not of the same clips with the same labels."""
    first = runs[0]
    for other in runs[1:]:
        mine, theirs = set(first.clips), set(other.clips)
        if mine != theirs:
            raise UserError(
                f"{first.name} and {other.name} were judged on different clips: "
                f"{len(mine - theirs)} only in {first.name}, {len(theirs - mine)} only in "
                f"{other.name} (for example {min(mine ^ theirs)[0]}); evaluate both on one set, "
                "with eval --data and --out"
            )
        for key, said in first.clips.items():
            if other.clips[key].label != said.label:
                raise UserError(
                    f"{key[0]} has the label '{said.label}' in {first.name} and "
                    f"'{other.clips[key].label}' in {other.name}; evaluate both on one set"
                )


def _name(run: Path) -> str:
    path = run.resolve()
    return path.parent.name if path.name == "eval" else path.name
