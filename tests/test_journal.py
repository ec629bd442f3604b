import errno
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.storage.journal import Journal, OtherJournalError

ENTRIES = [{"id": str(i), "text": "ä\n" * i} for i in range(4)]
HEADER = {"model": "m1", "limits": {"a": 1}}


def written(path, entries=ENTRIES, header=HEADER) -> bytes:
    with Journal(path, header) as journal:
        assert journal.open() == []
        for entry in entries:
            journal.add(entry)
    return path.read_bytes()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_the_end_costs_only_what_is_damaged(tmp_path_factory, data) -> None:
    """Cut anywhere, with rubbish behind (zeros are what a power cut leaves): the rest goes on."""
    path = tmp_path_factory.mktemp("journal") / "j"
    whole = written(path)
    header = whole.index(b"\n") + 1
    cut = data.draw(st.integers(header, len(whole)))
    rubbish = data.draw(st.sampled_from([b"", b"\0" * 40, b"\0\n", b"{}x\n", b"\xff\xfe\n{"]))
    path.write_bytes(whole[:cut] + rubbish)
    with Journal(path, HEADER) as journal:
        known = journal.open()
        assert known == ENTRIES[: len(known)]
        assert len(known) >= whole[:cut].count(b"\n") - 1
        for entry in ENTRIES[len(known) :]:
            journal.add(entry)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("data", [b"", b'{"framewave_jou'])
def test_a_journal_killed_in_its_header_begins_anew(tmp_path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    assert written(tmp_path / "j") == written(tmp_path / "fresh")


def test_other_settings_are_refused_and_named(tmp_path) -> None:
    whole = written(tmp_path / "j")
    with pytest.raises(OtherJournalError, match=r"model was m1, is m2; limits.a was 1, is 2"):
        Journal(tmp_path / "j", {"model": "m2", "limits": {"a": 2}}).open()
    assert (tmp_path / "j").read_bytes() == whole


@pytest.mark.parametrize("data", [b"my notes\n", b'{"a": 1}\n', b"\0\0\0"])
def test_a_foreign_file_is_refused_and_kept(tmp_path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(UserError, match="not a framewave journal"):
        Journal(tmp_path / "j", HEADER).open()
    assert (tmp_path / "j").read_bytes() == data


def test_a_line_that_cannot_be_written_whole_is_taken_back(tmp_path, monkeypatch) -> None:
    whole = written(tmp_path / "j")
    journal = Journal(tmp_path / "j", HEADER)
    journal.open()

    class Full:
        def __init__(self, file) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            self._file.write(data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name: str):
            return getattr(self._file, name)

    monkeypatch.setattr(journal, "_file", Full(journal._file))
    with pytest.raises(OSError, match="No space"), journal:
        journal.add({"id": "5"})
    assert (tmp_path / "j").read_bytes() == whole
    assert all(json.loads(line) for line in whole.splitlines())
