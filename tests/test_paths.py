"""Which file a name in a table means."""

from pathlib import Path

import pytest

from data_prep.annotations.paths import FileFinder, absolute_name


@pytest.fixture
def folder(tmp_path):
    for name in ("set/deer/x.mp4", "set/fox/y.mp4", "set/A01.wav", "set/u\u0308ber.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("set/deer/x.mp4", "set/deer/x.mp4"),
        ("set\\deer\\x.mp4", "set/deer/x.mp4"),
        ("C:\\data\\set\\deer\\x.mp4", "set/deer/x.mp4"),
        ("\\\\nas\\share\\deer\\x.mp4", "set/deer/x.mp4"),
        ("/home/other/fox/y.mp4", "set/fox/y.mp4"),
        ("A01", "set/A01.wav"),
        ("a01.WAV", "set/A01.wav"),
        ("\u00fcber.mp4", "set/u\u0308ber.mp4"),
        ('"set/fox/y.mp4"', "set/fox/y.mp4"),
        ("set/deer/../deer/x.mp4", "set/deer/x.mp4"),
    ],
)
def test_the_one_file_that_fits_is_found(folder, written: str, file: str) -> None:
    assert FileFinder(folder).find(written) == str(folder / file)


def test_of_several_none_is_chosen(folder) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "x.mp4").touch()
    finder = FileFinder(folder)
    assert finder.find("x.mp4") == str(folder / "x.mp4")
    assert len(finder.ambiguous) == 1
    assert "set/deer/x.mp4" in finder.ambiguous[0]


def test_addresses_and_missing_files_stay_as_written(folder) -> None:
    assert FileFinder(folder).find("s3://bucket/z.mp4") == "s3://bucket/z.mp4"
    for name in ("gone.mp4", "other/fox.mp4", "elsewhere/x.mp4", "deer/y.mp4"):
        assert FileFinder(folder).find(name) == str(folder / name)
    assert FileFinder(folder).find("/mnt/unplugged/else/x.mp4") == "/mnt/unplugged/else/x.mp4"


def test_behind_a_link_dots_lead_elsewhere(tmp_path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "d.mp4").touch()
    (tmp_path / "d.mp4").write_text("another")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    assert Path(absolute_name("link/../d.mp4", tmp_path)).samefile(tmp_path / "far" / "d.mp4")
    assert absolute_name("far/deep/../d.mp4", tmp_path) == str(tmp_path / "far" / "d.mp4")


@pytest.mark.parametrize("written", ["SET/DEER/X.MP4", "C:\\Users\\me\\set\\deer\\X.mp4"])
def test_a_file_at_the_named_place_comes_before_one_further_down(folder, written: str) -> None:
    (folder / "copy" / "set" / "deer").mkdir(parents=True)
    (folder / "copy" / "set" / "deer" / "x.mp4").touch()
    finder = FileFinder(folder)
    assert finder.find(written) == str(folder / "set" / "deer" / "x.mp4")
    assert not finder.ambiguous
