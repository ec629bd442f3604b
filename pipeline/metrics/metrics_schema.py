"""metrics.json: what stands in it and what it means; every file is checked against it.

Shares are 0 to 1. An interval is [low, high] at 95 %, over groups (see COVERAGE.md), or null where
there are fewer than three groups. METRICS.md is made from these descriptions.

METRICS.md, made from the schema's own descriptions.
"""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

METRICS_VERSION = 4  # also in Metrics below: a type needs the number itself
Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None


class Part(BaseModel):
    """Base of all parts: nothing that is not described."""

    model_config = ConfigDict(extra="forbid")


class Difference(Part):
    """Accuracy minus another's on the same clips."""

    mean: float
    low: float | None
    high: float | None
    n_groups: int


class PerClass(Part):
    """One label."""

    precision: Share = Field(description="Of the clips given this label, the share that have it.")
    recall: Share = Field(description="Of the clips that have it, the share given it.")
    f1: Share = Field(description="Harmonic mean of precision and recall.")
    support: int = Field(description="Clips that have it.")
    predicted: int = Field(description="Clips given it.")
    n_groups: int = Field(description="Groups with clips that have it.")
    precision_interval: Interval
    recall_interval: Interval
    f1_interval: Interval
    average_precision: Share | None = Field(
        None,
        description="Area under precision against recall, by the label's probability; null without "
        "support, absent for baselines.",
    )


class Confusion(Part):
    """Rows: truth; columns: predicted; both in the order of labels."""

    labels: list[str]
    counts: list[list[int]]


class Baseline(Part):
    """A simple method on the same clips."""

    n: int
    accuracy: Share
    accuracy_interval: Interval
    macro_f1: Share
    macro_f1_interval: Interval
    per_class: dict[str, PerClass]
    regularisation_c: float | None = Field(None, description="Chosen on validation clips.")
    always: str | None = Field(None, description="The one label it names, where it names but one.")
    difference: Difference = Field(description="The model's accuracy minus this one's.")


class Bin(Part):
    """Clips of similar probability."""

    n: int
    mean_probability: Share
    accuracy: Share
    interval: Interval


class Calibration(Part):
    """Whether the probability of the named label is how often it is right."""

    error: float = Field(description="Root of the debiased squared difference over the bins.")
    expected_error: float = Field(
        description="Expected calibration error: mean distance over 15 bins of equal width."
    )
    n_bins: int
    p_value: Share | None = Field(
        description="How often a perfectly calibrated model would look no better; null for fewer "
        "than 6 groups."
    )
    mean_probability: Share
    accuracy: Share
    bins: list[Bin] = Field(description="Of equal numbers of clips, least sure to most sure.")


class Confident(Part):
    """Clips on which it is at least so sure."""

    min_probability: Share
    n: int
    mean_probability: Share
    accuracy: Share


class CoveragePoint(Part):
    """Clips with at least this probability."""

    min_probability: float
    coverage: Share = Field(description="Their share of all clips.")
    accuracy: Share
    n: int


class Threshold(Part):
    """The lowest classify.min_probability at which an accuracy was reached on these clips."""

    wanted_accuracy: Share
    min_probability: float
    coverage: Share
    accuracy: Share
    interval: Interval
    n: int


class Slice(Part):
    """Clips with one value of a property."""

    surely_weaker: bool = Field(
        description="Its accuracy is below that of the other clips by more than chance, the number "
        "of parts allowed for."
    )

    value: str
    n: int
    n_groups: int
    accuracy: Share
    interval: Interval


class Accuracy(Part):
    """An accuracy and its interval."""

    accuracy: Share
    interval: Interval


class Masked(Part):
    """Clips that have picture and sound, shown with both and with one alone."""

    n: int
    n_groups: int
    both: Accuracy
    picture: Accuracy
    sound: Accuracy
    picture_adds: Difference = Field(description="Both minus sound alone.")
    sound_adds: Difference = Field(description="Both minus picture alone.")


class TrainedApart(Part):
    """A run beside this one, of the same data and other modalities."""

    run: str
    modalities: str
    accuracy: Share
    interval: Interval
    difference: Difference = Field(description="This run's accuracy minus that one's.")


class Modalities(Part):
    """What picture and sound are worth."""

    masked: Masked | None = Field(description="null for a model or clips of one modality.")
    trained_apart: list[TrainedApart]


class Label(Part):
    """One label's clips in the evaluated set."""

    clips: int
    failed: int
    groups: int
    seconds: float
    with_picture: int
    with_sound: int


class Data(Part):
    """The evaluated set, failures included."""

    n_files: int
    seconds: float
    statuses: dict[str, int]
    per_label: dict[str, Label]


class Counted(Part):
    """How many pairs of clips, and one of them."""

    n: int
    example: dict[str, str] | None


class SplitOptimism(Part):
    """Logistic regression in folds drawn two ways."""

    random: Share
    grouped: Share
    n_clips: int
    n_groups: int


class LeakingClips(Part):
    """Judged clips, and how many of them are of one recording with clips trained on."""

    n: int
    n_leaking: int
    example: dict[str, str] | None


class LeakAudit(Part):
    """Summary of the leak audit of all clips, those trained on too."""

    digest: str = Field(description="Names the clips, and what stands between them.")
    version: int = Field(description="Of what is looked for.")
    n_clips: int
    n_compared: int = Field(description="Clips that could be read for it.")
    trained_on: int = Field(description="Judged clips that the model was trained on.")
    with_training: bool = Field(description="false: not all clips trained on were at hand.")
    prepared: bool = Field(description="false: the work folder held no features.")
    leaks: Counted = Field(description="One recording on both sides of a split or of folds.")
    conflicts: Counted = Field(description="One content with two labels.")
    others: Counted = Field(description="One recording in two groups of one split.")
    by_kind: dict[str, int]
    across_folds: bool
    groups_joined: list[int] = Field(description="Groups that would be joined, and into how many.")
    groups_left: int = Field(description="Groups there would be then.")
    judged: LeakingClips
    flattery: SplitOptimism | None


class LargestGroup(Part):
    """The group with most clips."""

    name: str
    n: int


class Metrics(Part):
    """The file."""

    version: Literal[4]
    evaluated_on: Literal["test split", "out of fold", "other data"]
    model: str = Field(description="Digest of model.json and model.safetensors.")
    modalities: str = Field(description="What the model uses: picture, sound or both.")
    n: int = Field(description="Clips judged.")
    n_groups: int
    groups_known: bool = Field(description="false: every clip counts as its own group.")
    n_without_group: int = Field(description="Clips of no group, each of which counts as one.")
    even_groups: float = Field(description="Groups of one size that would weigh as much (Kish).")
    even_groups_deciding: float = Field(
        description="The same, counting mistakes alone, or hits where these are rarer."
    )
    largest_group: LargestGroup | None = Field(description="null where groups are not known.")
    n_failed: int = Field(description="Labelled clips without a prediction.")
    accuracy: Share
    accuracy_interval: Interval
    macro_f1: Share = Field(description="Mean F1 of the labels that occur in truth or predictions.")
    macro_f1_interval: Interval
    per_class: dict[str, PerClass]
    confusion: Confusion
    baselines: dict[str, Baseline]
    calibration: Calibration | None = Field(description="null for fewer than 20 clips.")
    sure: Confident | None = Field(description="null for fewer than 10 clips of such probability.")
    coverage: list[CoveragePoint] = Field(description="From all clips to the surest.")
    thresholds: list[Threshold]
    slices: dict[str, list[Slice]] = Field(
        description="By what clips have, their length, status, group, fold and further columns."
    )
    modality_ablation: Modalities
    data: Data
    audit: LeakAudit | None = Field(description="null where it was left out.")
    reproduction: dict[str, Any] = Field(
        description="Settings, seeds, versions, digests of weights and data."
    )


def checked(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics themselves. Raises ValueError where they are not as described: our mistake."""
    Metrics.model_validate(metrics)
    return metrics


def described() -> str:
    """METRICS.md."""
    intro = (__doc__ or "").strip().splitlines()[2:4]
    lines = [f"# metrics.json, version {METRICS_VERSION}", "", *intro, ""]
    kinds: list[type[BaseModel]] = [Metrics, *sorted(Part.__subclasses__(), key=_name)]
    for kind in dict.fromkeys(kinds):
        lines += [f"## {kind.__name__}", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| key | type | meaning |", "|---|---|---|"]
        for key, field in kind.model_fields.items():
            lines.append(f"| `{key}` | {_type(field.annotation)} | {field.description or ''} |")
        lines.append("")
    return "\n".join(lines)


def _name(kind: type[BaseModel]) -> str:
    return kind.__name__


def _type(kind: Any) -> str:
    """As a reader of the file would say it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "[low, high]" if get_origin(parts[0]) is list else _type(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_type, parts))
    if origin is Literal:
        return " or ".join(map(json.dumps, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type, parts))}]"
    return {NoneType: "null", Any: "anything"}.get(kind) or str(kind.__name__)
