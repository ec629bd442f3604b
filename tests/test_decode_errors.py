""" """

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from data_prep.decode_errors import DecodeErrors, captured_stderr, last_line


def test_only_what_lies_between_good_pieces_is_in_the_middle() -> None:
    losses = DecodeErrors()
    for piece in "xx.x..xx":
        if piece == ".":
            losses.record_success()
        else:
            losses.record_error(piece)
    assert (losses.leading, losses.middle, losses.trailing) == (2, 1, 2)
    assert (losses.total, losses.n_decoded, losses.success_share) == (5, 3, 3 / 8)


def test_the_first_reason_is_kept() -> None:
    losses = DecodeErrors()
    assert losses.success_share == 1.0
    losses.record_error("a")
    losses.record_error("b")
    assert losses.reason == "a"


def test_lines_of_c_libraries_are_overheard_and_kept_off_the_screen(capfd) -> None:
    with captured_stderr() as lines:
        os.write(2, b"[mov,mp4 @ 0x55d8cd90] moov atom not found\n")
    assert lines == ["moov atom not found"]
    with captured_stderr() as nothing:
        pass
    assert nothing == []


def test_also_when_the_block_raises() -> None:
    said: list[list[str]] = []
    with pytest.raises(ValueError, match="broken"):
        _speak_and_break(said)
    assert said == [["why"]]


def _speak_and_break(said: list[list[str]]) -> None:
    with captured_stderr() as lines:
        said.append(lines)
        os.write(2, b"why\n")
        raise ValueError("broken")


def test_a_terminal_stays_clean() -> None:
    """With standard error on a pipe, what was overheard does not come through."""
    code = (
        "import os; from data_prep.decode_errors import captured_stderr\n"
        "with captured_stderr() as lines: os.write(2, b'noise')\n"
        "os.write(2, b'mine'); print(lines)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("mine", "['noise']\n")


def test_addresses_and_control_characters_are_left_out() -> None:
    assert last_line(b"first\n[h264 @ 0x7f00] bad \x1b[31mred\x07\n\n") == "bad  [31mred"
    assert last_line(b"[concat @ 0x555a") == ""
    assert last_line(b"") == ""
