"""How often the report's intervals hold what they should, by simulation: COVERAGE.md.

    PYTHONPATH=. python benchmarks/studies/coverage.py

Groups are drawn from a population: each has a size and a share of right answers of its own (beta,
by the correlation within groups), and clips are right or wrong by that share. The true accuracy
is known, so an interval either holds it or not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from pipeline.metrics.classification import score
from pipeline.metrics.intervals import difference_interval, ratio_interval, weights
from pipeline.report.warnings import uneven_groups


def _one_large(draw: np.random.Generator, n: int) -> np.ndarray:
    sizes = draw.geometric(1 / 4, n).clip(1, 15)
    sizes[0] = sizes[1:].sum() // 2 + 1
    return sizes


SIZES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "1 each": lambda draw, n: np.ones(n, int),
    "5 each": lambda draw, n: np.full(n, 5),
    "1 to 15": lambda draw, n: draw.geometric(1 / 4, n).clip(1, 15),
    "heavy-tailed": lambda draw, n: np.ceil(draw.pareto(1.3, n) * 2 + 1).astype(int).clip(1, 120),
}
UNSEEN: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "log-normal": lambda draw, n: np.ceil(draw.lognormal(1.0, 1.3, n)).astype(int).clip(1, 400),
    "a third in one": _one_large,
    "2, each tenth 40": lambda draw, n: np.where(draw.random(n) < 0.1, 40, 2),
}
"""Sizes that nothing about the intervals was chosen by."""
WITHIN = (0.0, 0.2, 0.5)
SHARES = (0.5, 0.7, 0.9, 0.97)
N_GROUPS = (3, 5, 10, 15, 20, 30, 60, 150)


def drawn(
    draw: np.random.Generator, n_groups: int, sizes: str, within: float, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """(right answers, clips) by group, float [G]."""
    clips = (SIZES | UNSEEN)[sizes](draw, n_groups)
    own = np.full(n_groups, share)
    if within:
        scale = (1 - within) / within
        own = draw.beta(share * scale, (1 - share) * scale, n_groups)
    return draw.binomial(clips, own).astype(float), clips.astype(float)


def held(n_groups: int, sizes: str, within: float, share: float, repeats: int, seed: int) -> float:
    """How often, of 100, the interval of the accuracy holds the true one."""
    return held_or_told(n_groups, sizes, within, share, repeats, seed)[0]


def held_or_told(
    n_groups: int, sizes: str, within: float, share: float, repeats: int, seed: int
) -> tuple[float, float]:
    """How often, of 100, the interval holds the true accuracy; and either does so or comes with the
    report's warning that it may be too narrow."""
    draw = np.random.default_rng(seed)
    inside = told = 0
    for _ in range(repeats):
        right, clips = drawn(draw, n_groups, sizes, within, share)
        found = ratio_interval(right, clips)
        assert found is not None
        holds = found.low - 1e-9 <= share <= found.high + 1e-9
        metrics = {"n_groups": n_groups, "accuracy": right.sum() / clips.sum()}
        inside += holds
        told += not holds and bool(uneven_groups(metrics | weights(right, clips)))
    return 100 * inside / repeats, 100 * (inside + told) / repeats


def difference_held(n_groups: int, sizes: str, within: float, repeats: int, seed: int) -> float:
    """The same for a difference of two methods of which one is right 10 % more often."""
    draw = np.random.default_rng(seed)
    inside = 0
    for _ in range(repeats):
        clips = SIZES[sizes](draw, n_groups)
        scale = (1 - within) / within if within else 1e6
        own = draw.beta(0.7 * scale, 0.3 * scale, n_groups)
        gain = np.zeros(n_groups)
        for group, (n, p) in enumerate(zip(clips, own, strict=True)):
            both = draw.random(n) < p
            gained = draw.random(n) < 0.2
            lost = draw.random(n) < 0.1
            # a method is changed on some clips: 20 % of the wrong become right, 10 % the other way
            gain[group] = np.sum(~both & gained) - np.sum(both & lost)
        true = 0.3 * 0.2 - 0.7 * 0.1
        found = difference_interval(gain, clips.astype(float))
        assert found is not None
        inside += found.low <= true <= found.high
    return 100 * inside / repeats


def labels_held(
    n_groups: int, sizes: str, within: float, share: float, one_label: bool, repeats: int, seed: int
) -> dict[str, float]:
    """How often, of 100, intervals of one label's scores and of macro-F1 hold the true value, of
    those that there are: of four labels as frequent as each other, wrong clips are given any other.

    one_label: all clips of a group have one label; else each has any.
    """
    draw = np.random.default_rng(seed)
    names = ("a", "b", "c", "d")
    inside, there = Counter[str](), Counter[str]()
    for _ in range(repeats):
        right, clips = drawn(draw, n_groups, sizes, within, share)
        index = np.repeat(np.arange(n_groups), clips.astype(int))
        of_group = draw.integers(0, 4, n_groups)[index]
        true = of_group if one_label else draw.integers(0, 4, index.size)
        number = np.concatenate([draw.permutation(int(n)) for n in clips])
        is_right = number < right[index]
        said = np.where(is_right, true, (true + draw.integers(1, 4, index.size)) % 4)
        found = score([names[k] for k in true], [names[k] for k in said], names,
                      [str(k) for k in index])  # fmt: skip
        intervals = {name: found["per_class"]["a"][f"{name}_interval"]
                     for name in ("precision", "recall", "f1")}  # fmt: skip
        for name, interval in (intervals | {"macro-F1": found["macro_f1_interval"]}).items():
            if interval is not None:
                there[name] += 1
                inside[name] += interval[0] - 1e-9 <= share <= interval[1] + 1e-9
    return {name: 100 * inside[name] / there[name] for name in there}


def by_bootstrap(n_groups: int, sizes: str, within: float, share: float, repeats: int) -> float:
    """The percentile bootstrap over groups, for comparison."""
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(repeats):
        right, clips = drawn(draw, n_groups, sizes, within, share)
        found = bootstrap(
            (right, clips), lambda r, n, axis=-1: r.sum(axis=axis) / n.sum(axis=axis), paired=True,
            vectorized=True, n_resamples=400, method="percentile", rng=draw,
        ).confidence_interval  # fmt: skip
        inside += found.low <= share <= found.high
    return 100 * inside / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--page", type=Path, default=Path(__file__).with_name("COVERAGE.md"))
    args = parser.parse_args()
    args.page.write_text("\n".join(page(args.repeats)) + "\n", encoding="utf-8")
    print(args.page)


def page(repeats: int) -> list[str]:
    lines = [
        "# How often the report's intervals hold the truth",
        "",
        f"Written by benchmarks/studies/coverage.py: {repeats} sets of clips for each cell, of 100. Rows: "
        "how large groups are, how alike clips of one group are (correlation), the true accuracy. "
        "95 are wanted. Last two columns: the percentile bootstrap over groups, from which the "
        "report's intervals were until version 1 of metrics.json (400 sets).",
        "",
        "| groups of | alike | true | " + " | ".join(f"{n} groups" for n in N_GROUPS)
        + " | bootstrap, 10 | bootstrap, 30 |",
        "|---|---|---|" + "---|" * (len(N_GROUPS) + 2),
    ]  # fmt: skip
    outside, cells = 0, 0
    for sizes in SIZES:
        for within in WITHIN if sizes != "1 each" else (0.0,):
            for share in SHARES:
                row = [held(n, sizes, within, share, repeats, seed=0) for n in N_GROUPS]
                judged = [v for n, v in zip(N_GROUPS, row, strict=True) if n >= 20]
                outside += sum(not 92 <= v <= 98 for v in judged)
                cells += len(judged)
                row += [by_bootstrap(n, sizes, within, share, repeats // 5) for n in (10, 30)]
                lines.append(
                    f"| {sizes} | {within:g} | {share:g} | "
                    + " | ".join(f"{value:.1f}" for value in row) + " |"
                )  # fmt: skip
    lines += [
        "",
        f"From 20 groups on {cells - outside} of {cells} cells lie between 92 and 98.",
        "",
        *unseen(repeats // 2),
        "",
        *by_label(repeats // 4),
        "",
        "Differences of two methods on the same clips, true difference −1 point:",
        "",
        "| groups of | alike | " + " | ".join(f"{n} groups" for n in N_GROUPS) + " |",
        "|---|---|" + "---|" * len(N_GROUPS),
    ]
    for sizes in SIZES:
        for within in (0.0, 0.5) if sizes != "1 each" else (0.0,):
            row = [difference_held(n, sizes, within, repeats // 2, seed=0) for n in N_GROUPS]
            cells_text = " | ".join(f"{value:.1f}" for value in row)
            lines.append(f"| {sizes} | {within:g} | {cells_text} |")
    return lines


def by_label(repeats: int) -> list[str]:
    """Scores of one of four labels, and macro-F1."""
    counts = (20, 40, 100)
    lines = [
        "Precision / recall / F1 of one of four labels / macro-F1, of sets in which there is an "
        "interval. Where each group has one label, a label has a quarter of the groups:",
        "",
        "| groups of | labels | alike | true | " + " | ".join(f"{n} groups" for n in counts) + " |",
        "|---|---|---|---|" + "---|" * len(counts),
    ]
    for one_label in (False, True):
        for sizes in ("5 each", "1 to 15", "heavy-tailed"):
            for within in (0.0, 0.5):
                for share in (0.5, 0.7, 0.9):
                    held_of = [
                        labels_held(n, sizes, within, share, one_label, repeats, 0) for n in counts
                    ]
                    cells = (
                        " / ".join(f"{h[k]:.1f}" for k in ("precision", "recall", "f1", "macro-F1"))
                        for h in held_of
                    )
                    how = "one a group" if one_label else "mixed"
                    lines.append(
                        f"| {sizes} | {how} | {within:g} | {share:g} | " + " | ".join(cells) + " |"
                    )
    return lines


def unseen(repeats: int) -> list[str]:
    """Sizes that the intervals' constants were not chosen by, told cases apart."""
    lines = [
        "Sizes of groups that nothing was chosen by, with how often the interval held the truth or "
        "the report said that it may be too narrow, where that is more often:",
        "",
        "| groups of | alike | true | " + " | ".join(f"{n} groups" for n in N_GROUPS) + " |",
        "|---|---|---|" + "---|" * len(N_GROUPS),
    ]
    for sizes in UNSEEN:
        for within in WITHIN:
            for share in SHARES:
                cells = [held_or_told(n, sizes, within, share, repeats, seed=0) for n in N_GROUPS]
                shown = (f"{h:.1f}" if t - h < 0.05 else f"{h:.1f} ({t:.1f})" for h, t in cells)
                lines.append(f"| {sizes} | {within:g} | {share:g} | " + " | ".join(shown) + " |")
    return lines


if __name__ == "__main__":
    main()
