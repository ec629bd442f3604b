"""What all pages share when their templates are filled in."""

from __future__ import annotations

from pipeline.report.page import _commands, write_page


def test_commands_in_sentences_are_code_and_labels_stay_text() -> None:
    assert _commands("`framewave audit` of <b>") == "<code>framewave audit</code> of &lt;b&gt;"


def test_a_number_and_its_percent_sign_stay_on_one_line(tmp_path) -> None:
    page = tmp_path / "compare.html"
    empty = {
        "names": [],
        "headline": ["a 5 % b"],
        "scores": [],
        "others": [],
        "labels": [],
        "rows": [],
        "n": 0,
    }
    write_page(page, "compare.html.j2", empty | {"comparison_svg": ""})
    assert "a 5\u00a0% b" in page.read_text("utf-8")
