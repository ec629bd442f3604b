import os
import subprocess
import sys

import pytest

from data_prep.stderr_capture import captured_stderr, last_line


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
        "import os; from data_prep.stderr_capture import captured_stderr\n"
        "with captured_stderr() as lines: os.write(2, b'noise')\n"
        "os.write(2, b'mine'); print(lines)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("mine", "['noise']\n")


def test_addresses_and_control_characters_are_left_out() -> None:
    assert last_line(b"first\n[h264 @ 0x7f00] bad \x1b[31mred\x07\n\n") == "bad  [31mred"
    assert last_line(b"[concat @ 0x555a") == ""
    assert last_line(b"") == ""
