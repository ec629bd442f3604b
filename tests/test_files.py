import pytest

from data_prep.files import replacing, write_text_atomically


def test_the_old_content_stays_until_the_new_is_whole(tmp_path) -> None:
    path = tmp_path / "sub" / "a.txt"
    write_text_atomically(path, "old\udcff")
    assert path.read_bytes() == b"old\xff"
    with pytest.raises(OSError, match="full"):
        _write_and_fail(path)
    assert path.read_bytes() == b"old\xff"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def _write_and_fail(path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("full")
