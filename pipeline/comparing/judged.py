"""Runs to compare: their evaluations, which must be of the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.evaluating.evaluation_files import read_evaluation
from pipeline.evaluating.leaks import OTHER_DATA
from pipeline.evaluating.table import Key, Said


@dataclass(frozen=True)
class Judged:
    """One evaluation."""

    name: str
    clips: dict[Key, Said]
    metrics: dict[str, Any]

    @property
    def trained_on(self) -> int | None:
        """Judged clips that the model was trained on; None where nobody looked."""
        begun = self.metrics["reproduction"].get("begun_from")  # another model saw clips before it
        if self.metrics["evaluated_on"] != OTHER_DATA and not begun:
            return 0  # eval itself keeps them apart
        return self._known("trained_on")

    @property
    def leaking(self) -> int | None:
        """Judged clips of one recording with clips that the model was trained on; None where
        nobody looked."""
        return self._known("judged", "n_leaking")

    def _known(self, *keys: str) -> int | None:
        """A number of the audit; 0 only where all was looked at."""
        audit = found = self.metrics["audit"]
        if audit is None:
            return None
        for key in keys:
            found = found[key]
        return int(found) if found or audit["with_training"] else None


def read_judged(run: Path) -> Judged:
    """Of a run folder (its eval/), or of a folder that eval wrote. Raises UserError."""
    kept = read_evaluation(run)
    return Judged(_name(run), kept.clips, kept.metrics)


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
