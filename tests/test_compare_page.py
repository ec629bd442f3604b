"""The page of a comparison, opened in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.comparing.compare import changed_clips, compare
from pipeline.page.compare_page import write_compare_page
from tests.browser import Visit, browser
from tests.metrics_samples import clips, kept_evaluation


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
    assert "All runs name every clip alike." in text
    assert "t-changed" not in text
