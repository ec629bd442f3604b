"""Schema of metrics.json of the tasks in time, and the page that describes those of all tasks."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field

from pipeline.metrics import metrics_schema
from pipeline.metrics.metrics_schema import (
    METRICS_VERSION,
    Confusion,
    Difference,
    Evaluated,
    Interval,
    Part,
    PerClass,
    Share,
)


class SegmentF1(Part):
    """F1 of segments at an overlap; counts are summed over files."""

    f1: Share
    f1_interval: Interval
    true_positives: int
    false_positives: int
    false_negatives: int


class EventF1(Part):
    """Event-based F1: begin and end within a collar, or within half of the length."""

    collar_s: float
    micro: Share
    macro: Share | None = Field(
        description="A class that is never predicted counts as 0; null without true segments."
    )
    per_class: dict[str, Share]


class BoundaryErrors(Part):
    """Begins and ends of matched segments, predicted minus true."""

    n: int
    median_absolute_s: float | None
    median_s: float | None
    steps: list[int] = Field(description="Errors in steps; the outer ones hold the rest.")
    counts: list[int]


class TimelineBaseline(Part):
    """A baseline on the same files."""

    n: int
    accuracy: Share
    accuracy_interval: Interval
    macro_f1: Share
    segment_f1: dict[str, SegmentF1]
    edit: Share
    event_f1: EventF1
    segment_ratio: float | None
    boundary_errors: BoundaryErrors | None
    difference: Difference = Field(
        description="Accuracy of the model minus that of the baseline, mean over files."
    )


class AgreementScores(Part):
    """Scores against the labels of files that several people labelled."""

    n: int = Field(description="Timelines: several for a file with more than two annotators.")
    accuracy: Share
    accuracy_interval: Interval
    macro_f1: Share
    segment_f1: dict[str, SegmentF1]
    edit: Share
    segment_ratio: float | None


class Agreement(Part):
    """How well people agree, on the files that several of them labelled."""

    n: int = Field(description="Files.")
    people: AgreementScores = Field(
        description="Of the further annotators, as if they had predicted the labels."
    )
    model: AgreementScores = Field(description="Of the model, on the same files.")


class TimelineMetrics(Evaluated):
    """The whole file, for timelines; accuracy, macro_f1, per_class and confusion count steps."""

    macro_f1: Share
    macro_f1_interval: Interval
    per_class: dict[str, PerClass]
    confusion: Confusion
    n_steps: int = Field(description="Steps whose label is known.")
    n_unknown_steps: int
    step_s: float
    background: str | None = Field(description="null if no step is background.")
    background_share: Share = Field(description="Share of the known steps that are background.")
    segment_f1: dict[str, SegmentF1] = Field(description="By overlap.")
    edit: Share = Field(description="Edit score, mean over files.")
    event_f1: EventF1
    n_true_segments: int
    n_predicted_segments: int
    segment_ratio: float | None = Field(
        description="Predicted segments for each true one; null without true ones."
    )
    boundary_errors: BoundaryErrors | None = Field(
        description="null if no segment matches a true one."
    )
    agreement: Agreement | None = Field(
        None, description="null if no file was labelled by several people."
    )
    baselines: dict[str, TimelineBaseline]


class Horizon(Part):
    """Forecasts of one horizon."""

    horizon: int = Field(description="Steps after the origin.")
    n_origins: int = Field(description="Steps whose label after this horizon is known.")
    accuracy: Share | None
    accuracy_interval: Interval
    difference: Difference | None = Field(
        None, description="Of baselines: accuracy of the model minus that of the baseline."
    )
    baseline: str | None = Field(None, description="Of best_baseline: which one it is here.")


class ForecastBaseline(Part):
    """A baseline that knows the true past; best_baseline is the best one at each horizon."""

    n: int
    n_groups: int
    accuracy: Share
    accuracy_interval: Interval
    by_horizon: list[Horizon]
    difference: Difference


class ForecastMetrics(Evaluated):
    """The whole file, for forecasts; accuracy is that of all horizons together."""

    by_horizon: list[Horizon]
    step_s: float
    horizon_steps: int
    history_steps: int | None = Field(
        description="Steps that the network sees; null: all before the origin."
    )
    form: Literal["sequence_to_sequence", "sequence_to_vector"]
    baselines: dict[str, ForecastBaseline]


class EventsBaseline(Part):
    """A baseline on the same clips."""

    n: int
    n_groups: int
    accuracy: Share
    accuracy_interval: Interval
    edit: Share
    precision: Share
    recall: Share
    f1: Share
    n_true_events: int
    n_predicted_events: int
    difference: Difference


class EventsMetrics(Evaluated):
    """The whole file, for event lists; accuracy is the share of lists that are exactly right."""

    edit: Share = Field(description="Edit score, mean over clips.")
    precision: Share = Field(description="Share of the predicted events that are right, in order.")
    recall: Share = Field(description="Share of the true events that were found, in order.")
    f1: Share
    n_true_events: int
    n_predicted_events: int
    baselines: dict[str, EventsBaseline]


class SeriesDifference(Part):
    """By how much the model's absolute error is lower, mean over origins, with its interval."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    n_groups: int


class SeriesHorizon(Part):
    """Forecast numbers of one horizon."""

    horizon: int = Field(description="Steps after the origin.")
    n_origins: int = Field(description="Steps whose number after this horizon is known.")
    mae: float | None = Field(description="Mean absolute error.")
    mae_interval: Interval
    difference: SeriesDifference | None = Field(None, description="Of baselines.")
    skill: float | None = Field(
        None, description="Of baselines: 1 − error of the model / error of the baseline."
    )
    baseline: str | None = Field(None, description="Of best_baseline: which one it is here.")


class SeriesBaseline(Part):
    """A baseline that knows the true past; best_baseline is the best one at each horizon."""

    n: int
    n_groups: int
    mae: float
    mae_interval: Interval
    by_horizon: list[SeriesHorizon]
    difference: SeriesDifference
    skill: float | None


class SeriesMetrics(Evaluated):
    """The whole file, for forecasts of numbers; accuracy: share of numbers in the right bin."""

    target: str
    mae: float = Field(description="Mean absolute error, all horizons together.")
    mae_interval: Interval
    by_horizon: list[SeriesHorizon]
    step_s: float
    horizon_steps: int
    history_steps: int | None = Field(
        description="Steps that the network sees; null: all before the origin."
    )
    form: Literal["sequence_to_sequence", "sequence_to_vector"]
    baselines: dict[str, SeriesBaseline]


def described() -> str:
    """The content of docs/metrics.md."""
    # the paragraph under the first line of the schema's docstring
    intro = (metrics_schema.__doc__ or "").strip().splitlines()[2:4]
    lines = [f"# metrics.json, version {METRICS_VERSION}", "", *intro, ""]
    parts = set(Part.__subclasses__()) - {Evaluated}
    for kind in (*Evaluated.__subclasses__(), *sorted(parts, key=_name)):
        lines += [f"## {kind.__name__}", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| key | type | meaning |", "|---|---|---|"]
        for key, field in kind.model_fields.items():
            lines.append(f"| `{key}` | {_type(field.annotation)} | {field.description or ''} |")
        lines.append("")
    return "\n".join(lines)


def _name(kind: type[BaseModel]) -> str:
    return kind.__name__


def _type(kind: Any) -> str:
    """A type as readers of the JSON file know it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:  # the constrained types at the top
        return "[low, high]" if get_origin(parts[0]) is list else _type(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_type, parts))
    if origin is Literal:
        return " or ".join(map(json.dumps, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type, parts))}]"
    return {NoneType: "null", Any: "anything"}.get(kind) or str(kind.__name__)
