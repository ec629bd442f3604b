"""Header readers share one handle, and never see another file, or an old one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from data_prep.media import source
from data_prep.media.source import close_source, open_source
from tests.helpers.decoding import CFR, decode
from tests.helpers.media import write_video


def test_one_handle_as_long_as_it_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"first")
    with open_source(str(path)) as one:
        assert one.read() == b"first"
    with open_source(str(path)) as two:
        assert two is one
        assert two.read() == b"first"
    path.write_bytes(b"longer than before")
    with open_source(str(path)) as changed:
        assert changed.read() == b"longer than before"
    assert one.closed
    other = tmp_path / "b"
    other.write_bytes(b"other")
    other.replace(path)
    with open_source(str(path)) as replaced:
        assert replaced.read() == b"other"
    close_source()
    assert replaced.closed
    close_source()


def test_threads_do_not_share_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    found = []

    def read() -> None:
        with open_source(str(tmp_path / "a")) as file:
            found.append(file)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert found[0] is not found[1]


def test_what_cannot_be_opened_raises_as_open_does(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_source(str(tmp_path / "none")):
        pass
    with pytest.raises(ValueError, match="null"), open_source("a\0b"):
        pass


def test_an_mp4_is_opened_once_for_its_headers(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", CFR, sound_ms=(0, 4000))
    opened = []
    close_source()
    sys.addaudithook(
        lambda event, args: (
            opened.append(args[0]) if event == "open" and str(args[0]) == str(path) else None
        )
    )
    decode(path)
    assert len(opened) == 1
    assert source._current.file.name == str(path)
