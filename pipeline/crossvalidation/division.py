"""All clips of a crossval in folds: what a fold's networks are trained on and judged by."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.dataset.blocks import is_near
from pipeline.training.training_data import LabelledSample


@dataclass(frozen=True)
class Division:
    """All clips, and which fold each is in."""

    items: list[LabelledSample]
    fold_of: dict[str, str]
    """Clip id → name of its fold."""
    gap_s: float = 0.0
    """Clips nearer than this to one of a fold are not trained on by its networks."""

    @property
    def folds(self) -> list[str]:
        return sorted(set(self.fold_of.values()))

    def inside(self, fold: str | None) -> list[LabelledSample]:
        return [item for item in self.items if self.fold_of[item.row.id] == fold]

    def outside(self, fold: str | None) -> list[LabelledSample]:
        others = [item for item in self.items if self.fold_of[item.row.id] != fold]
        if not self.gap_s:
            return others
        judged: dict[str, list[LabelledSample]] = {}
        for item in self.inside(fold):
            judged.setdefault(item.row.path, []).append(item)
        return [
            item
            for item in others
            if not any(
                is_near(item.row, other.row, self.gap_s) for other in judged.get(item.row.path, ())
            )
        ]
