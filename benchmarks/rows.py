"""The rounds of a set read from the benchmark's output, and tables of them."""

from __future__ import annotations

import statistics
from typing import Any

PROMISES = ("default", "exact")


class Row:
    """All rounds of one set with one encoder."""

    def __init__(self, values: dict[str, Any], name: str, encoder: str) -> None:
        self.name, self.encoder = name, encoder
        prefix = f"{name}/{encoder}/"
        self.rounds = [v for k, v in values.items() if k.startswith(f"{prefix}round")]
        self.floors = {p: values.get(f"{prefix}floor/{p}") for p in PROMISES}

    def ratios(self, promise: str) -> list[float]:
        """How many times as fast as the afternoon's code, round by round."""
        return [r["afternoon_s"] / r[promise]["wall_s"] for r in self.rounds]

    def of_loop(self, promise: str) -> float:
        """The same with the afternoon's loop alone, as if its start-up took no time."""
        return statistics.median(r["afternoon_loop_s"] / r[promise]["wall_s"] for r in self.rounds)

    def median(self, promise: str, key: str = "wall_s") -> float:
        return statistics.median(r[promise][key] for r in self.rounds)

    def real_time(self, promise: str) -> float:
        return float(self.rounds[0]["media_s"]) / self.median(promise)

    def of_floor(self, promise: str) -> float | None:
        found = self.floors[promise]
        return None if found is None else float(found["floor_s"]) / self.median(promise)

    def at_most(self, promise: str) -> float | None:
        """How many times as fast as the afternoon's code the floor itself would be."""
        found = self.floors[promise]
        if found is None:
            return None
        return statistics.median(r["afternoon_s"] for r in self.rounds) / float(found["floor_s"])

    def two_workers(self, promise: str) -> float | None:
        """Two workers against one, in the same round."""
        for r in self.rounds:
            if f"{promise}_one_worker" in r:
                return float(r[f"{promise}_one_worker"]["wall_s"]) / float(r[promise]["wall_s"])
        return None

    def labels(self, promise: str) -> tuple[float, float, int]:
        """Least share of equal labels, largest difference of a probability, clips a round."""
        found = [r[f"{promise}_labels"] for r in self.rounds]
        return (
            min(f["same_label"] for f in found), max(f["worst"] for f in found),
            int(found[0]["clips"]),
        )  # fmt: skip


def spread(values: list[float]) -> str:
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.1f}×"
    return f"{middle:.1f}× ({min(values):.1f}–{max(values):.1f})"


def optional(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}×"


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def set_table(rows: list[Row]) -> list[str]:
    head = ["videos", "files", "default tolerance", "exact", "at the floor", "(exact)",
            "floor : time", "(exact)", "2 workers : 1", "(exact)", "cores busy",
            "same labels as the afternoon's", "(exact)", "largest difference of a probability",
            "(exact)"]  # fmt: skip
    body = []
    for row in rows:
        labels, exact_labels = row.labels("default"), row.labels("exact")
        body.append([
            row.name, str(row.rounds[0]["files"]), spread(row.ratios("default")),
            spread(row.ratios("exact")), times(row.at_most("default")),
            times(row.at_most("exact")), optional(row.of_floor("default")),
            optional(row.of_floor("exact")), optional(row.two_workers("default")),
            optional(row.two_workers("exact")), f"{row.median('default', 'busy'):.0%}",
            f"{labels[0]:.1%} of {labels[2]}", f"{exact_labels[0]:.1%}",
            f"{labels[1]:.3f}", f"{exact_labels[1]:.3f}",
        ])  # fmt: skip
    return table(head, body)


def seconds_table(rows: list[Row]) -> list[str]:
    head = ["videos", "total length", "afternoon", "framewave", "exact", "× real time", "(exact)",
            "times its loop alone", "(exact)", "floor: decoding", "sound", "CNN",
            "decoding, exact"]  # fmt: skip
    body = []
    for row in rows:
        default, exact = row.floors["default"] or {}, row.floors["exact"] or {}
        body.append([
            row.name, f"{row.rounds[0]['media_s']:.0f} s",
            f"{statistics.median(r['afternoon_s'] for r in row.rounds):.1f} s",
            f"{row.median('default'):.1f} s", f"{row.median('exact'):.1f} s",
            f"{row.real_time('default'):.0f}", f"{row.real_time('exact'):.0f}",
            f"{row.of_loop('default'):.1f}×", f"{row.of_loop('exact'):.1f}×",
            *(seconds(default.get(k)) for k in ("decode_s", "sound_s", "cnn_s")),
            seconds(exact.get("decode_s")),
        ])  # fmt: skip
    return table(head, body)
