""" """

from __future__ import annotations

import io

from rich.console import Console

from pipeline.cli import console
from pipeline.cli.console import ProgressState, visible


def state(**values) -> ProgressState:
    made = ProgressState("classifying", 400, 100)
    made.began_s = 0.0
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_a_line_says_how_far_how_fast_and_how_long_still() -> None:
    made = state(done=100, failed=3, media_s=4500.0, expected_bytes=400, bytes_done=100)
    assert made.line(60.0) == (
        "classifying: 200 of 400, 75 min of recordings, 75.0 × real time, 3 failed, "
        "about 3 min left"
    )


def test_time_left_by_files_where_sizes_are_unknown() -> None:
    assert "about 120 s left" not in state(done=100).line(60.0)
    assert "about 2 min left" in state(done=100).line(60.0)


def test_nothing_is_promised_too_early_or_at_the_end() -> None:
    assert "left" not in state(done=1).line(1.0)
    assert "left" not in state(done=300).line(60.0)


def test_control_characters_are_written_out() -> None:
    assert visible("a\x1b[31mred\x07") == "a\\x1b[31mred\\x07"
    assert visible("rtl\u202e4pm.mp4") == "rtl\\u202e4pm.mp4"
    assert visible("inv\udcff") == "inv\\xff"
    assert visible("日本語 é 🎬") == "日本語 é 🎬"


def test_names_of_strangers_reach_no_terminal_and_no_markup(monkeypatch) -> None:
    for name in ("out", "err"):
        screen = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
        monkeypatch.setattr(console, name, screen)
    evil = "\x1b]0;title\x07[bold]x[/]\udcff"
    console.say(evil)
    console.print_error(evil)
    console.print_table(["label"], [[evil]], title=evil)
    console.ConsoleReporter().note(evil)
    for screen in (console.out, console.err):
        text = screen.file.getvalue()
        assert "\x1b]0" not in text
        assert "[bold]x[/]" in text
        assert "\\xff" in text
