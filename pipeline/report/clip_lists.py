"""The clips that report.html lists, their order, and the facts shown for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.evaluate import Evaluation
from pipeline.leak_audit.audit_result import clip_name
from pipeline.metrics.scoring import EvaluatedClip

_PLAYABLE = frozenset({  # formats that current browsers play
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".mp3", ".m4a", ".aac", ".wav", ".ogg", ".oga",
    ".ogv", ".opus", ".flac",
})  # fmt: skip


@dataclass(frozen=True)
class ClipEntry:
    """An evaluated clip as listed on the page."""

    clip: EvaluatedClip
    name: str
    address: str
    """file: URL of the recording."""
    label: str
    predicted: str
    probability: float
    true_probability: float
    """Probability of the true label."""

    @property
    def group(self) -> str:
        """The group, "" if the clip has none or only its own path."""
        return "" if self.clip.row.group == self.clip.row.path else self.clip.row.group

    @property
    def player(self) -> str:
        """The HTML element that plays the file, "" if browsers do not support its format."""
        if Path(self.clip.row.path).suffix.lower() not in _PLAYABLE:
            return ""
        return "video" if self.clip.prediction.has_video else "audio"

    @property
    def part_address(self) -> str:
        """URL of the clip's part of the file (Media Fragments URI 1.0)."""
        begin_s, end_s = self.clip.row.start_s, self.clip.row.end_s
        if begin_s is None and end_s is None:
            return self.address
        # the browser then plays this part only
        return f"{self.address}#t={begin_s or 0:.3f}" + ("" if end_s is None else f",{end_s:.3f}")

    @property
    def right(self) -> bool:
        return self.label == self.predicted


@dataclass(frozen=True)
class FailedEntry:
    """A labelled file without a prediction."""

    name: str
    address: str
    label: str
    status: str
    error: str


def worst_errors(evaluation: Evaluation) -> list[ClipEntry]:
    """Misclassified clips, lowest probability of the true label first."""
    wrong = [entry for entry in _entries(evaluation) if not entry.right]
    # path: a stable order for equal values
    return sorted(wrong, key=lambda entry: (entry.true_probability, entry.clip.row.path))


def least_confident(evaluation: Evaluation) -> list[ClipEntry]:
    """Correctly classified clips, lowest probability first."""
    right = [entry for entry in _entries(evaluation) if entry.right]
    return sorted(right, key=lambda entry: (entry.probability, entry.clip.row.path))


def clip_rows(evaluation: Evaluation) -> list[ClipEntry]:
    """All evaluated clips, lowest probability of the true label first."""
    return sorted(_entries(evaluation), key=lambda e: (e.true_probability, e.clip.row.path))


def failed_rows(evaluation: Evaluation) -> list[FailedEntry]:
    """Labelled files without a prediction, by status and path."""
    failed = [clip for clip in evaluation.clips if not clip.prediction.status.usable]
    failed.sort(key=lambda clip: (str(clip.prediction.status), clip.row.path))
    return [
        FailedEntry(
            Path(clip.row.path).name, address_of(clip.row.path), clip.row.label,
            str(clip.prediction.status), clip.prediction.error,
        )
        for clip in failed
    ]  # fmt: skip


def _entries(evaluation: Evaluation) -> list[ClipEntry]:
    # column of each label in the probabilities
    number = {label: k for k, label in enumerate(evaluation.labels)}
    entries = []
    for clip in evaluation.predicted_clips:
        probabilities = clip.prediction.probabilities
        assert probabilities is not None
        # shows the time range if a file has several clips
        name = clip_name(clip.row.path, clip.row.start_s, clip.row.end_s)
        entries.append(
            ClipEntry(
                clip,
                name,
                address_of(clip.row.path),
                clip.row.label,
                evaluation.labels[int(probabilities.argmax())],
                float(probabilities.max()),
                float(probabilities[number[clip.row.label]]),
            )
        )
    return entries


def address_of(path: str) -> str:
    """file:// URL of a path, percent-encoded."""
    return Path(path).absolute().as_uri()  # as_uri refuses relative paths
