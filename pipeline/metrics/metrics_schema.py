"""Schema of metrics.json, which every file is validated against; source of docs/metrics.md.

Shares are 0 to 1. An interval is a 95 % confidence interval [low, high] over groups of clips (see
benchmarks/studies/COVERAGE.md), or null for fewer than three groups.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

METRICS_VERSION = 4  # also in Metrics below: Literal needs the number itself
Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]  # sums of floats can exceed 1
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None


class Part(BaseModel):
    """Base of all parts; keys that are not described are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Difference(Part):
    """Paired difference of two accuracies on the same clips, with its interval."""

    mean: float
    low: float | None
    high: float | None
    n_groups: int


class PerClass(Part):
    """Scores of one label."""

    precision: Share = Field(description="Share of the clips predicted as this label that have it.")
    recall: Share = Field(
        description="Share of the clips with this label that are predicted as it."
    )
    f1: Share = Field(description="Harmonic mean of precision and recall.")
    support: int = Field(description="Number of clips with this label.")
    predicted: int = Field(description="Number of clips predicted as it.")
    n_groups: int = Field(description="Number of groups with clips of this label.")
    precision_interval: Interval
    recall_interval: Interval
    f1_interval: Interval
    average_precision: Share | None = Field(
        None,
        description="Area under the precision-recall curve of the label's probability; null "
        "without support, absent for baselines.",
    )


class Confusion(Part):
    """Confusion matrix. Rows: true labels; columns: predicted; both in the order of labels."""

    labels: list[str]
    counts: list[list[int]]


class Baseline(Part):
    """A baseline on the same clips."""

    n: int
    accuracy: Share
    accuracy_interval: Interval
    macro_f1: Share
    macro_f1_interval: Interval
    per_class: dict[str, PerClass]
    regularisation_c: float | None = Field(
        None,
        description="C of the regression, chosen by cross-validation except in logistic_default.",
    )
    always: str | None = Field(
        None, description="The label, if it predicts the same one for all clips."
    )
    difference: Difference = Field(description="Accuracy of the model minus that of the baseline.")


class Bin(Part):
    """Clips of similar probability."""

    n: int
    mean_probability: Share
    accuracy: Share
    interval: Interval


class Calibration(Part):
    """Agreement of the predicted label's probability with the accuracy."""

    error: float = Field(description="Root of the debiased squared calibration error.")
    expected_error: float = Field(
        description="Expected calibration error (ECE) over 15 bins of equal width."
    )
    n_bins: int
    p_value: Share | None = Field(
        description="Probability of as large an error if the model were perfectly calibrated; "
        "null for fewer than 6 groups."
    )
    mean_probability: Share
    accuracy: Share
    bins: list[Bin] = Field(description="Bins of equal numbers of clips, by rising probability.")


class Confident(Part):
    """Clips with at least this probability of the predicted label."""

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
    """The lowest classify.min_probability that reaches an accuracy on these clips."""

    wanted_accuracy: Share
    min_probability: float
    coverage: Share
    accuracy: Share
    interval: Interval
    n: int


class Slice(Part):
    """Clips with one value of a property."""

    value: str
    n: int
    n_groups: int
    accuracy: Share
    interval: Interval
    surely_weaker: bool = Field(
        description="Whether its accuracy is significantly below that of the other clips, "
        "corrected for the number of tests."
    )


class Accuracy(Part):
    """An accuracy and its interval."""

    accuracy: Share
    interval: Interval


class Masked(Part):
    """Ablation on clips with picture and sound: with both, and with one of them masked."""

    n: int
    n_groups: int
    both: Accuracy
    picture: Accuracy
    sound: Accuracy
    picture_adds: Difference = Field(description="Accuracy with both minus sound alone.")
    sound_adds: Difference = Field(description="Accuracy with both minus picture alone.")


class TrainedApart(Part):
    """Another run on the same data with other modalities."""

    run: str
    modalities: str
    accuracy: Share
    interval: Interval
    difference: Difference = Field(description="Accuracy of this run minus that of the other.")


class Modalities(Part):
    """Contribution of picture and sound."""

    masked: Masked | None = Field(
        description="null if the model uses, or all clips have, a single modality."
    )
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
    """The evaluated set, including failed clips."""

    n_files: int
    seconds: float
    statuses: dict[str, int]
    per_label: dict[str, Label]


class Counted(Part):
    """Number of pairs of clips, and an example."""

    n: int
    example: dict[str, str] | None


class SplitOptimism(Part):
    """Accuracy of a logistic regression in random folds and in folds by group."""

    random: Share
    grouped: Share
    n_clips: int
    n_groups: int


class LeakingClips(Part):
    """Evaluated clips, and how many of them share a recording with training clips."""

    n: int
    n_leaking: int
    example: dict[str, str] | None


class LeakAudit(Part):
    """Summary of the leak audit of training and evaluated clips."""

    digest: str = Field(
        description="Hash of the clips with their labels, groups, folds and splits."
    )
    version: int = Field(description="Version of the checks.")
    n_clips: int
    n_compared: int = Field(description="Clips that could be read and compared.")
    trained_on: int = Field(description="Evaluated clips that the model was trained on.")
    with_training: bool = Field(description="false: not all training clips were available.")
    prepared: bool = Field(description="false: the work folder had no features.")
    leaks: Counted = Field(description="Pairs of one recording across splits or folds.")
    conflicts: Counted = Field(description="Pairs of the same content with different labels.")
    others: Counted = Field(description="Pairs of one recording in two groups of one split.")
    by_kind: dict[str, int]
    across_folds: bool
    groups_joined: list[int] = Field(
        description="[groups that should be merged, number of groups they would become]."
    )
    groups_left: int = Field(description="Number of groups after that.")
    judged: LeakingClips
    flattery: SplitOptimism | None


class LargestGroup(Part):
    """The group with the most clips."""

    name: str
    n: int


class Evaluated(Part):
    """What the files of all tasks have."""

    version: Literal[4]
    evaluated_on: Literal["test split", "out of fold", "other data"]
    model: str = Field(description="Digest of model.json and model.safetensors.")
    modalities: str = Field(description="What the model uses: picture, sound or both.")
    n: int = Field(description="Number of clips with a prediction.")
    n_groups: int
    n_failed: int = Field(description="Number of labelled clips without a prediction.")
    accuracy: Share
    accuracy_interval: Interval
    modality_ablation: Modalities
    data: Data
    audit: LeakAudit | None = Field(description="null if skipped or not possible.")
    reproduction: dict[str, Any] = Field(
        description="Settings, seeds, versions, digests of weights and data."
    )


class Metrics(Evaluated):
    """The whole file, for labels of whole clips."""

    groups_known: bool = Field(
        description="false: no groups are known, each clip counts as its own."
    )
    n_without_group: int = Field(
        description="Clips without a group, each of which counts as its own."
    )
    even_groups: float = Field(description="Effective number of groups (Kish).")
    even_groups_deciding: float = Field(
        description="The same, weighted by errors, or by hits if these are rarer."
    )
    largest_group: LargestGroup | None = Field(description="null if groups are not known.")
    macro_f1: Share = Field(description="Mean F1 of the labels that occur in truth or predictions.")
    macro_f1_interval: Interval
    per_class: dict[str, PerClass]
    confusion: Confusion
    baselines: dict[str, Baseline]
    calibration: Calibration | None = Field(description="null for fewer than 20 clips.")
    sure: Confident | None = Field(description="null for fewer than 10 clips of such probability.")
    coverage: list[CoveragePoint] = Field(
        description="Accuracy against coverage, from all clips to the most confident."
    )
    thresholds: list[Threshold]
    slices: dict[str, list[Slice]] = Field(
        description="Accuracy by modalities, length, status, file type, group, fold and other "
        "columns."
    )


def checked(metrics: dict[str, Any], schema: type[Evaluated] = Metrics) -> dict[str, Any]:
    """Validate the metrics and return them. Raises ValueError if they violate the schema."""
    schema.model_validate(metrics)
    return metrics
