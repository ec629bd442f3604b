"""metrics.json is as its description says, and the description is what is in the repository."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.metrics.metrics_schema import checked, described
from tests.helpers.metrics_samples import clips, metrics_of

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"


def test_what_is_made_is_as_described() -> None:
    metrics = metrics_of(clips())
    assert checked(metrics) is metrics
    few = metrics_of(clips(3, 1))
    assert checked(few)["calibration"] is None


@pytest.mark.parametrize(
    ("path", "value"),
    [(("version",), 1), (("accuracy",), 1.2), (("news",), 1), (("per_class", "cat", "f1"), None)],
)
def test_anything_else_is_our_mistake(path: tuple[str, ...], value: object) -> None:
    metrics = copy.deepcopy(metrics_of(clips()))
    target = metrics
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ValidationError):
        checked(metrics)


def test_the_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text() == described() + "\n", "write described() into docs/metrics.md"
