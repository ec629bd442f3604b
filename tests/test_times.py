"""Times as people write them."""

import pytest

from data_prep.dataset.times import parse_time_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5), ("12,5", 12.5), ("0:01", 1), ("1:02.5", 62.5), ("00:00:01.500", 1.5),
        ("01:00:01,5", 3601.5), ("1500 ms", 1.5), ("1.5 s", 1.5), ("2 min", 120), ("1e1", 10),
        (".5", 0.5), ("", None), ("NA", None), ("nan", None), ("-", None), ("90:00", 5400),
    ],
)  # fmt: skip
def test_times_that_are_read(text: str, seconds: float | None) -> None:
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("00:00:10:12", "ends in frames"), ("1.234,5", "has both"), ("1_0", "not a time"),
        ("1e400", "longer than anybody"), ("9" * 400, "longer than anybody"),
        ("soon", "not a time"), ("-3", "not a time"), ("١", "not a time"), ("1:75", "60 or more"),
    ],
)  # fmt: skip
def test_times_that_are_none_say_why_as_they_were_written(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_time_s(text)
    assert f"'{text}'" in str(caught.value)
