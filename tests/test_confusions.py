"""What is confused stands side by side, and the most frequent confusions are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluating.confusions import confusion_order, most_confused


def test_confused_labels_are_neighbours() -> None:
    counts = [[8, 0, 0, 4, 0], [0, 9, 0, 0, 3], [0, 0, 9, 0, 0], [5, 0, 0, 7, 0], [0, 4, 0, 0, 9]]
    order = confusion_order(counts)
    place = {label: k for k, label in enumerate(order)}
    assert abs(place[0] - place[3]) == abs(place[1] - place[4]) == 1


@given(st.integers(1, 8).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 5), min_size=n, max_size=n), min_size=n, max_size=n)
))  # fmt: skip
def test_every_label_is_there_once(counts: list[list[int]]) -> None:
    assert sorted(confusion_order(counts)) == list(range(len(counts)))


def test_without_confusion_the_order_stays() -> None:
    assert confusion_order([[3, 0, 0], [0, 2, 0], [0, 0, 0]]) == [0, 1, 2]


def test_the_most_frequent_come_first_and_single_ones_do_not_count() -> None:
    assert most_confused([[9, 2, 0], [5, 4, 1], [0, 2, 8]]) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert most_confused([[9, 2, 0], [5, 4, 1], [0, 2, 8]], most=1) == [(1, 0, 5)]
    assert most_confused([[9, 1], [1, 9]]) == []
