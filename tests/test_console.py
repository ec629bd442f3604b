import io

from rich.console import Console

from pipeline import console
from pipeline.console import visible


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
