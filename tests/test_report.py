"""The page in a real browser: opened from disk, sorted, filtered, enlarged, printed, read aloud."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from data_prep.status import Status
from pipeline.config import Config
from pipeline.evaluation.evaluate import Evaluation
from pipeline.leak_audit.findings import FINDING_COLUMNS
from pipeline.metrics.scoring import EvaluatedClip
from pipeline.report.contact_sheets import Frame, Sheet, within_budget
from pipeline.report.report import write_report
from pipeline.report.sections import errors as errors_section
from pipeline.reporter import SilentReporter
from pipeline.storage.predictions import Prediction
from tests.helpers.browser import Visit, browser
from tests.helpers.metrics_samples import clips, evaluation_of

ODD = ("<script>alert(1)</script>", "=1+1", "عربى", "x" * 200, '"><img src=x onerror=alert(2)>')


def _picture(shade: int) -> str:
    from pipeline.report.contact_sheets import _address

    return _address(Image.fromarray(np.full((90, 160, 3), shade, np.uint8)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd labels, a failed file, a finding and pictures for every clip that is shown."""
    folder = tmp_path_factory.mktemp("report")
    judged = clips(120, 12, labels=ODD)
    failed = Prediction("/videos/broken.mp4", Status.CRASHED, "the decoder died <b>here</b>")
    whole = evaluation_of(folder, judged, ODD)
    row = replace(judged[0].row, path=failed.path)
    finding = dict.fromkeys(FINDING_COLUMNS, "") | {
        "kind": "same_sound", "crosses": "labels splits", "first": "/a/<b>.mp4",
        "second": "/a/c.mp4", "offset_s": "-0.80", "score": "0.900", "note": "4.0 s of it",
        "first_label": ODD[0], "second_label": ODD[1], "first_split": "train",
        "second_split": "test",
    }  # fmt: skip
    whole = replace(
        whole, clips=[*whole.clips, EvaluatedClip(row, failed, None)], findings=[finding]
    )
    sheet = Sheet([Frame(0.5, _picture(90)), Frame(1.5, _picture(160))], _picture(40), 4.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            errors_section, "sheets", lambda rows, *rest: {each.key: sheet for each in rows}
        )
        write_report(folder / "report.html", whole, Config(), SilentReporter())
    return folder / "report.html"


def test_it_opens_from_disk_and_asks_for_nothing(report: Path) -> None:
    with browser() as running:
        for scheme in ("light", "dark"):
            visit = Visit(running, report, scheme=scheme)
            assert visit.complaints == []
            assert visit.asked_elsewhere == []


def test_labels_are_text_whatever_is_in_them(report: Path) -> None:
    with browser() as running:
        visit = Visit(running, report)
        text = visit.page.inner_text("#t-clips")
        for label in ODD:
            assert label in text
        assert "<b>here</b>" in visit.page.inner_text("main")
        assert visit.page.locator("main img[src=x]").count() == 0
        assert visit.complaints == []  # no alert, no error


@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_the_screen(report: Path, width: int) -> None:
    with browser() as running:
        page = Visit(running, report, width=width).page
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_tables_sort_by_keyboard_and_say_so(report: Path) -> None:
    with browser() as running:
        page = Visit(running, report).page
        head = page.locator("#t-clips th", has_text="probability")
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        values = page.eval_on_selector_all(
            "#t-clips tbody tr", "rows => rows.map(row => Number(row.cells[3].dataset.v))"
        )
        assert values == sorted(values)
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        back = page.eval_on_selector_all(
            "#t-clips tbody tr", "rows => rows.map(row => Number(row.cells[3].dataset.v))"
        )
        assert back == sorted(values, reverse=True)


def test_tables_filter_by_text_and_by_kind(report: Path) -> None:
    with browser() as running:
        page = Visit(running, report).page
        box = page.locator(".filter[data-for=t-clips]")
        shown = page.locator("#t-clips tbody tr:not([hidden])")
        assert shown.count() == 120
        box.locator("input").fill("00017")
        assert shown.count() == 1
        assert "1 of 120 rows" in box.inner_text()
        box.locator("input").fill("")
        box.locator("select").select_option("wrong")
        kinds = shown.evaluate_all("rows => rows.map(row => row.dataset.kind)")
        assert set(kinds) == {"wrong"}
        assert 0 < len(kinds) < 120


def test_the_theme_is_the_systems_until_another_is_chosen(report: Path) -> None:
    def background(page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    with browser() as running:
        light = Visit(running, report).page
        dark = Visit(running, report, scheme="dark").page
        assert background(light) != background(dark)
        as_dark = background(dark)
        light.click("#theme")  # light
        assert background(light) != as_dark
        light.click("#theme")  # dark
        assert background(light) == as_dark
        light.click("#theme")  # the system's again
        assert background(light) != as_dark


def test_pictures_are_enlarged_and_put_away_by_keyboard(report: Path) -> None:
    with browser() as running:
        page = Visit(running, report).page
        thumb = page.locator(".thumb").first
        thumb.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("#viewer")
        assert dialog.evaluate("dialog => dialog.open")
        assert dialog.locator("img").get_attribute("src") == thumb.locator("img").get_attribute(
            "src"
        )
        assert "0.5 s" in dialog.inner_text()
        page.keyboard.press("Escape")
        assert not dialog.evaluate("dialog => dialog.open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anyone_from_reading_it(report: Path, scheme: str) -> None:
    """axe-core's rules, among them names, roles and contrast."""
    with browser() as running:
        page = Visit(running, report, scheme=scheme).page
        found = Axe().run(page).response["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"][:120])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_it_prints_without_controls(report: Path, tmp_path: Path) -> None:
    with browser() as running:
        page = Visit(running, report).page
        page.emulate_media(media="print")
        assert not page.locator("#theme").is_visible()
        assert not page.locator("nav").is_visible()
        shown = page.locator("#t-clips tbody tr:visible").count()
        assert shown == 100
        assert page.get_by_text("rows the first 100 are printed").is_visible()
        page.pdf(path=tmp_path / "report.pdf")
        assert (tmp_path / "report.pdf").stat().st_size > 10_000


def test_the_numbers_are_those_of_the_metrics(report: Path) -> None:
    """Read from the page, each in its place."""
    whole = evaluation_of(report.parent, clips(120, 12, labels=ODD), ODD)
    metrics = json.loads(json.dumps(whole.metrics))
    with browser() as running:
        page = Visit(running, report).page
        for label, values in metrics["per_class"].items():
            row = page.locator("table", has_text="Scores of each label").locator(
                "tbody tr", has=page.get_by_role("rowheader", name=label, exact=True)
            )
            cells = row.evaluate("row => [...row.cells].slice(1).map(c => Number(c.dataset.v))")
            wanted = [values[key] for key in ("support", "n_groups", "precision", "recall", "f1")]
            assert cells[:5] == pytest.approx(wanted)
        bars = page.locator("table", has_text="minus the method").locator("tbody tr")
        accuracies = bars.evaluate_all("rows => rows.map(row => Number(row.cells[1].dataset.v))")
        simple = [each["accuracy"] for each in metrics["baselines"].values()]
        assert accuracies == pytest.approx([metrics["accuracy"], *simple])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p_value": None}, "Fewer than six groups are too few to test"),
        ({"p_value": 0.01}, "would have as large an error in only 1 % of such sets"),
        ({"p_value": 0.5}, "There is no evidence of miscalibration"),
        ({"p_value": 0.01, "mean_probability": 0.9, "accuracy": 0.6}, "is overconfident: a"),
        (
            {
                "p_value": 0.01,
                "mean_probability": 0.5,
                "accuracy": 0.9,
                "bins": [{"n": 20, "mean_probability": 0.99, "accuracy": 0.6, "interval": None}],
            },
            "is overconfident in its highest probabilities and underconfident in the others: a",
        ),
    ],
)
def test_what_is_said_of_probabilities_follows_their_test(tmp_path: Path, change, says) -> None:
    whole = evaluation_of(tmp_path, clips(120, 12))
    whole.metrics["calibration"] |= change
    text = _written(whole, tmp_path)
    assert says in text
    assert sum(each in text for each in ("too few to test", "an error in only", "no evidence")) == 1


def test_what_there_is_nothing_of_is_said(tmp_path: Path) -> None:
    whole = evaluation_of(tmp_path, clips(120, 12))
    nothing = ("have no subgroups", "No threshold raises the accuracy", "Fewer than 20 clips are")
    text = _written(whole, tmp_path)
    assert "have no subgroups" not in text
    assert "Fewer than 20" not in text
    whole.metrics.update(slices={}, thresholds=[], calibration=None)
    text = _written(whole, tmp_path)
    assert all(each in text for each in nothing)


def test_a_tables_interval_is_the_sentences(tmp_path: Path) -> None:
    whole = evaluation_of(tmp_path, clips(120, 12))
    whole.metrics["accuracy_interval"] = [0.9, 0.998]
    text = _written(whole, tmp_path)
    assert "95 % interval 90–99.8 %" in text
    assert '<span class="note">90–99.8</span>' in text


def _written(whole: Evaluation, folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(errors_section, "sheets", lambda *rest: {})
        write_report(folder / "report.html", whole, Config(), SilentReporter())
    text = (folder / "report.html").read_text("utf-8")
    assert not re.search(r"\d %", text)  # a line never ends between them
    return text.replace("\u00a0", " ")


def test_pictures_end_where_their_space_does() -> None:
    sheet = Sheet([Frame(0.0, "x" * 100)], "", 0.0)
    made = dict.fromkeys(range(10), sheet)
    assert list(within_budget([3, 1, 3, 2, 99], made, most_bytes=250)) == [3, 1]


def test_without_scripts_everything_is_there(report: Path) -> None:
    with browser() as running:
        context = running.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(report.as_uri())
        assert page.locator("#t-clips tbody tr:visible").count() == 120
        assert not page.locator("#theme").is_visible()


def test_sections_have_the_names_that_readers_know(report: Path) -> None:
    text = report.read_text("utf-8")
    for name in ("Confusion matrix", "Subgroups", "Compared with baselines", "Scores by label"):
        assert f">{name}</h2>" in text
    assert re.search(r"Accuracy is \d+\u00a0% \(", text)
