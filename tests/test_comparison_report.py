"""A comparison in sentences: each rule where it applies and where it does not.

The page of a comparison, opened in a browser.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.evaluation.comparison import EvaluatedRun, RunComparison, changed_clips, compare
from pipeline.metrics.metrics_schema import Difference
from pipeline.report.comparison_report import (
    caveats,
    changes,
    classes,
    comparison_text,
    no_verdict,
    optimistic_gain,
    setting_differences,
    verdict,
    write_compare_page,
)
from tests.helpers.browser import Visit, browser
from tests.helpers.metrics_samples import AUDIT, clips, kept_evaluation


def _beside(mean: float, low: float | None, high: float | None) -> RunComparison:
    d = Difference(mean=mean, low=low, high=high, n_groups=30)
    sure = ["cat"] if low is not None and low > 0 else []
    return RunComparison(
        "new",
        {},
        d,
        {"cat": d, "dog": Difference(mean=0.0, low=-0.1, high=0.1, n_groups=30)},
        sure,
        [],
        [],
    )


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((0.1, 0.05, 0.15), "new is 10 points better than old (95 % interval +5 to +15)."),
        ((-0.1, -0.15, -0.05), "new is 10 points worse than old"),
        ((0.1, -0.05, 0.25), "better than old, which may be chance"),
        ((0.1, None, None), "too few groups to tell whether that is chance"),
    ],
)
def test_the_verdict_follows_the_numbers(numbers, says: str) -> None:
    assert says in verdict("old", _beside(*numbers))


def test_labels_are_named_only_where_that_is_sure() -> None:
    assert classes(_beside(0.1, 0.05, 0.15)).endswith("in points: “cat” +10.")
    assert classes(_beside(0.1, -0.05, 0.15)) == ""


def test_changes_are_counted_where_there_are_any() -> None:
    same = _beside(0.1, 0.05, 0.15)
    assert changes(same) == ""
    some = replace(same, gained=[("/a/x.mp4", "", "")] * 3, lost=[("/a/y.mp4", "", "")])
    assert changes(some) == (
        "3 clips became correct (for example x.mp4), 1 clip became wrong (for example y.mp4)."
    )
    assert changes(replace(some, lost=[])).endswith("(for example x.mp4), none became wrong.")
    assert changes(replace(some, gained=[])).startswith("None became correct, 1 clip became wrong")


def _judged(name: str = "new", on: str = "test split", **audit: Any) -> EvaluatedRun:
    return EvaluatedRun(
        name, {}, {"evaluated_on": on, "audit": {**AUDIT, **audit}, "reproduction": {}}
    )


def _unaudited(on: str) -> EvaluatedRun:
    return EvaluatedRun("new", {}, {"evaluated_on": on, "audit": None, "reproduction": {}})


def _leaking(n: int) -> dict[str, Any]:
    return {"judged": {"n": 60, "n_leaking": n, "example": None}}


def test_nothing_is_held_against_a_fair_score() -> None:
    assert caveats(_judged()) == caveats(_judged(on="other data")) == []


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (_judged(on="other data", trained_on=40), "new was trained on 40 of these clips."),
        (
            _judged(on="other data", with_training=False),
            "It was not checked whether new was trained on some of these clips",
        ),
        (
            EvaluatedRun(
                "new", {}, {"evaluated_on": "other data", "audit": None, "reproduction": {}}
            ),
            "It was not checked whether new was trained on some of these clips",
        ),
        (
            _unaudited("test split"),
            "It was not checked whether new was trained on clips of the same recordings.",
        ),
        (
            _judged(**_leaking(1)),
            "1 of these clips comes from the same recording as training clips of new",
        ),
        (_judged(**_leaking(9)), "9 of these clips come from the same recording"),
    ],
)
def test_what_a_score_is_not_worth_is_said(run: EvaluatedRun, says: str) -> None:
    (said,) = caveats(run)
    assert said.startswith(says)


def test_who_was_trained_on_the_clips_or_is_ahead_by_near_ones_does_not_win() -> None:
    old, new = _judged("old"), _judged("new")
    seen = _judged("new", on="other data", trained_on=40)
    near = _judged("new", **_leaking(9))
    assert optimistic_gain(old, new, 0.1) == []
    assert optimistic_gain(old, seen, 0.1) == optimistic_gain(old, seen, -0.1) == ["new"]
    assert optimistic_gain(old, near, 0.1) == ["new"]
    assert optimistic_gain(old, near, -0.1) == []  # behind in spite of them
    assert optimistic_gain(replace(near, name="old"), near, 0.1) == []  # both have the same help
    assert optimistic_gain(old, near, 0.0) == optimistic_gain(near, old, 0.0) == ["new"]
    unknown = _unaudited("test split")
    assert optimistic_gain(replace(near, name="old"), unknown, 0.1) == ["new"]
    assert optimistic_gain(old, unknown, 0.1) == []  # that nobody looked is said
    assert "the score of new may be optimistic" in no_verdict(["new"])
    assert "the scores of both may be optimistic" in no_verdict(["old", "new"])


def test_ways_of_judging_are_told_where_they_differ(tmp_path: Path) -> None:
    runs = [_judged("old"), _judged("new", on="out of fold")]
    assert setting_differences(runs) == (
        "The runs were evaluated in different ways: old on its test split and new out of fold, by "
        "networks trained on the other folds."
    )
    a = kept_evaluation(tmp_path / "a", clips(60))
    b = kept_evaluation(tmp_path / "b", clips(60, share_right=0.5), evaluated_on="out of fold")
    assert any("in different ways" in text for text in comparison_text(compare([a, b])))
    c = kept_evaluation(tmp_path / "c", clips(60, share_right=0.5))
    assert not any("in different ways" in text for text in comparison_text(compare([a, c])))


def test_a_run_trained_on_the_clips_is_not_called_better(tmp_path: Path) -> None:
    a = kept_evaluation(tmp_path / "a", clips(60, share_right=0.5))
    audit = {**AUDIT, "trained_on": 60}
    b = kept_evaluation(tmp_path / "b", clips(60, share_right=1.0), evaluated_on="other data",
                        audit=audit)  # fmt: skip
    said = " ".join(comparison_text(compare([a, b])))
    assert said.startswith("b was trained on 60 of these clips.")
    assert "better than" not in said
    assert "by more than chance" not in said
    assert "became correct" not in said


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("compared")
    runs = [
        kept_evaluation(folder / name, clips(200, 40, share, seed=seed))
        for name, share, seed in (("a", 0.6, 1), ("<i>b", 0.9, 2), ("c", 0.7, 3))
    ]
    return compare(runs)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "compare.html"
    write_compare_page(path, found)
    return path


def test_it_opens_from_disk_and_fits_the_screen(page: Path) -> None:
    with browser() as running:
        for scheme, width in (("light", 1600), ("dark", 400)):
            visit = Visit(running, page, width=width, scheme=scheme)
            assert visit.complaints == []
            assert visit.asked_elsewhere == []
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            assert not Axe().run(visit.page).response["violations"]


def test_its_answer_and_tables_are_those_of_the_comparison(found, page: Path) -> None:
    with browser() as running:
        shown = Visit(running, page).page
        assert "<i>b is" in shown.inner_text(".answer")
        assert shown.locator("#t-changed tbody tr").count() == len(changed_clips(found))
        row = shown.locator("table", has_text="macro-F1").locator("tbody tr").nth(1)
        gain = found.others[0].difference.mean * 100
        assert f"{gain:+.0f}" in row.inner_text().replace("\u2212", "-")
        shown.select_option(".filter select", "lost")
        told = shown.inner_text(".filter [role=status]")
        first, last = found.runs[0].clips, found.runs[-1].clips
        lost = sum(first[key].right and not last[key].right for key in found.keys)
        assert told == f"{lost} of {len(changed_clips(found))} rows"


def test_runs_that_agree_have_no_table_of_changes(tmp_path: Path) -> None:
    same = clips(60, 12, 0.8, seed=1)
    runs = [kept_evaluation(tmp_path / name, same) for name in ("a", "b")]
    write_compare_page(tmp_path / "compare.html", compare(runs))
    text = (tmp_path / "compare.html").read_text("utf-8")
    assert "All runs classify every clip the same way." in text
    assert "t-changed" not in text
