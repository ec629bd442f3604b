"""Writes benchmarks/RESULTS.md and the README's speed table from the benchmark's output file.

python benchmarks/page.py                       # of results.json
python benchmarks/page.py RESULTS.json PAGE.md  # another machine's page; the README stays
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from rows import Row, seconds_table, set_table, table

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- speed: written by benchmarks/page.py -->", "<!-- end of speed -->"
README_SETS = {
    "720p-key0.5s-b": "1280×720, key frame every 0.5 s", "720p-key1s-b": "… every 1 s",
    "720p-key2s-b": "… every 2 s", "720p-key10s-b": "… every 10 s",
    "1080p-key1s-b": "1920×1080, key frame every 1 s", "falls": "phone clips, 640×480 to 1280×720",
    "flying": "infrared clips, 320×256",
}  # fmt: skip


def page(values: dict[str, Any], source: str) -> str:
    machine = values["machine"]
    names = sorted({k.split("/")[0] for k in values if "/round" in k}, key=_order)
    lines = [
        "# Speed", "",
        f"Written by `benchmarks/page.py` from `benchmarks/{source}`; measured by `make bench`.",
        "",
        f"{', '.join(sorted(set(values['measured'].values())))}. {machine['system']}, "
        f"{machine['processor']}, {machine['cores']} cores, no GPU, Python {machine['python']}.",
        "",
        "Ratios compare framewave with the code that a good engineer writes in an afternoon "
        "(`afternoon.py`: decord, eager float32 CNN, one loop), on the same files, alternating in "
        "one run: median, and range of the rounds. Both are timed as whole commands with their "
        "start-up; the afternoon's code processes some of the files, and its loop is scaled. "
        "*Times its loop alone* excludes its start-up, but not framewave's. *Floor*: the time that "
        "decoding, sound and CNN would need if each were as cheap as when it runs alone and all "
        "cores were always busy (`floor.py`). *At the floor*: the ratio if framewave needed only "
        "that time. *Floor : time*: the floor as a share of the time needed (start-up included). "
        "The generated folders hold copies of two videos each, so agreement of labels means little "
        "there; falls and flying are different recordings.", "",
    ]  # fmt: skip
    for encoder, title in (("efficientnet_lite2", "Default encoder"),
                           ("efficientnet_lite0", "Fast preset")):  # fmt: skip
        rows = [Row(values, name, encoder) for name in names]
        rows = [row for row in rows if row.rounds]
        if rows:
            lines += [f"## {title}", "", *set_table(rows), "", *seconds_table(rows), ""]
    lines += others(values)
    return "\n".join(lines).rstrip() + "\n"


def others(values: dict[str, Any]) -> list[str]:
    lines = ["## A large folder, the start, training", ""]
    if "many" in values:
        runs, low = values["many"]["framewave"], values["many"]["floor"]
        took = [run["wall_s"] for run in runs]
        lines.append(
            f"- {low['clips']} files (720p, key frame every 1 s): "
            f"floor : time {low['floor_s'] / statistics.median(took):.2f}, cores busy "
            f"{statistics.median(run['busy'] for run in runs):.0%} "
            f"({min(took):.0f}–{max(took):.0f} s, floor {low['floor_s']:.0f} s)."
        )
    if "scaling" in values:
        one, both = (values["scaling"][k]["wall_s"] for k in ("one_core", "all_cores"))
        lines.append(
            f"- All cores against one core (1080p-key10s-b, fast preset, exact frames): "
            f"{one / both:.2f}×. *2 workers : 1* in the tables is less, because one worker's "
            "decoding process and the CNN's only thread already keep two cores busy."
        )
    if "start" in values:
        start = values["start"]
        lines.append(
            f"- `--help`: {start['help_s']:.2f} s. First row of a table after "
            f"{min(start['first_row_s']):.1f}–{max(start['first_row_s']):.1f} s."
        )
    for name, found in values.get("training", {}).items():
        lines.append(
            f"- An epoch on stored features compared with one that decodes ({name}, "
            f"{found['clips']} clips): {found['ratio']} times as fast, "
            f"{found['epoch_s_per_1000']:.2f} s per 1000 clips."
        )
    return [
        *lines, "", *labels(values), *decoding(values), *where(values), *tried(values),
        *precision(values), *memory(values),
    ]  # fmt: skip


def labels(values: dict[str, Any]) -> list[str]:
    """Every file of the real sets."""
    lines = []
    for key, found in sorted(values.items()):
        if key.startswith("labels/"):
            _, name, encoder = key.split("/")
            for promise, result in found.items():
                lines.append(
                    f"- {name}, {encoder}, {promise}: {result['same_label']:.1%} of "
                    f"{result['clips']} clips, largest difference of a probability "
                    f"{result['worst']:.3f}"
                )
    if not lines:
        return []
    return ["## Agreement of labels with the afternoon's code", "", *lines, ""]


def decoding(values: dict[str, Any]) -> list[str]:
    """One file of each kind: every way against decord's exact one."""
    if "decoding" not in values:
        return []
    head = ["file", "default tolerance", "without loop filter", "change of frames (worst)",
            "exact", "decord, exact", "every frame"]  # fmt: skip
    body = []
    for name, rows in values["decoding"].items():
        by = {(r["asked"], r["promise"], r["loop_filter"]): r for r in rows}
        decord = by["decord", "exact", True]
        cells = []
        for key in (("auto", "default", True), ("auto", "default", False)):
            cells.append(f"{by[key]['way']}: {by[key]['ms'] / decord['ms']:.2f}")
        bare = by["auto", "default", False]
        cells.append(f"{bare['difference']:.2f} ({bare['worst_frame']:.2f})")
        exact = by["auto", "exact", True]
        cells.append(f"{exact['way']}: {exact['ms'] / decord['ms']:.2f}")
        cells.append(f"1 ({decord['ms']:.0f} ms, {decord['way']})")
        cells.append(f"{by['every', 'exact', True]['ms'] / decord['ms']:.2f}")
        body.append([name, *cells])
    return [
        "## Decoding strategies", "",
        "CPU time of a whole clip with sound, relative to decord in exact mode (`decoding.py`); "
        "changes are mean differences of pixel values in 0 to 255.", "", *table(head, body), "",
    ]  # fmt: skip


def where(values: dict[str, Any]) -> list[str]:
    lines = ["## Where the time goes", "", "CPU seconds by kind of thread (`where.py`).", ""]
    found = {k.partition("/")[2]: v for k, v in values.items() if k.startswith("where/")}
    for name, spent in sorted(found.items()):
        rest = {k: v for k, v in spent.items() if k != "folder"}
        lines.append(f"- {name}: " + "; ".join(f"{k} {v}" for k, v in rest.items()))
    return [*lines, ""] if found else []


def tried(values: dict[str, Any]) -> list[str]:
    """Ways to a cheaper CNN, against torch as it comes."""
    lines = []
    for encoder in ("efficientnet_lite2", "efficientnet_lite0"):
        rows = values.get(f"tried/{encoder}")
        if rows:
            plain = rows[0]["ms"]
            body = [
                [r["what"], f"{plain / r['ms']:.2f}×", f"{r['ms']:.1f} ms",
                 "" if r["error"] is None else f"{r['error']:.1%}"]
                for r in rows
            ]  # fmt: skip
            head = [
                "variant",
                "speed relative to torch",
                "per frame, all cores",
                "error, relative to the differences between frames",
            ]
            lines += [f"### {encoder}", "", *table(head, body), ""]
    if not lines:
        return []
    return ["## Variants of running the CNN", "", "`tried.py`.", "", *lines]


def precision(values: dict[str, Any]) -> list[str]:
    found = [v for k, v in values.items() if k.startswith("precision/")]
    lines = [
        f"- {v['folder']}, {v['precision']} in {v.get('library', 'torch')}: "
        f"{v['same_label']:.1%} of {v['clips']} clips keep their label, "
        f"largest difference of a probability {v['worst']:.3f}"
        for v in found
    ]
    if not lines:
        return []
    return ["## 16 bits against float32", "", "`precision.py`.", "", *lines, ""]


def memory(values: dict[str, Any]) -> list[str]:
    if "memory" not in values:
        return []
    return [
        "## Peak memory of all processes", "",
        "`memory.py --quick`; shared memory is counted in each process that maps it.", "",
        values["memory"].strip(), "",
    ]  # fmt: skip


def readme_table(values: dict[str, Any]) -> list[str]:
    machine = values["machine"]
    body = []
    for name, words in README_SETS.items():
        row = Row(values, name, "efficientnet_lite2")
        if row.rounds:
            body.append([
                words, f"{row.real_time('default'):.0f}", f"{row.real_time('exact'):.0f}",
                f"{statistics.median(row.ratios('default')):.1f}×",
                f"{statistics.median(row.ratios('exact')):.1f}×",
            ])  # fmt: skip
    head = ["videos", "times real time", "exact frames", "against an afternoon's code", "exact"]
    return [
        BEGIN, *table(head, body), "",
        f"Default encoder, {machine['cores']} cores ({machine['processor']}), no GPU, start-up "
        "included; all sets, rounds and the fast preset: [benchmarks/RESULTS.md]"
        "(benchmarks/RESULTS.md).", END,
    ]  # fmt: skip


def _order(name: str) -> tuple[bool, int, str]:
    generated = "p-key" in name
    return not generated, int(name.split("p-")[0]) if generated else 0, name


def main() -> None:
    if len(sys.argv) > 1:
        source, to = map(Path, sys.argv[1:])
        to.write_text(page(json.loads(source.read_text()), source.name))
        return
    values = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    (ROOT / "benchmarks" / "RESULTS.md").write_text(page(values, "results.json"))
    readme = ROOT / "README.md"
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"README.md lacks the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + "\n".join(readme_table(values)) + after)


if __name__ == "__main__":
    main()
