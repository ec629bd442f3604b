"""How long the report of a large evaluation takes to make and to open, and how large it is.

    PYTHONPATH=. python benchmarks/big_report.py [--clips 5000] [--labels 60] [--videos FOLDER]

Predictions are drawn, pictures are decoded from the videos of a folder (the same ones again and
again), everything else is what eval does after judging: scores, intervals, page. The time to open
is Chromium's, from the request to the load event, plus one layout.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config import Config
from pipeline.report.report import write_report
from pipeline.reporter import SilentReporter
from tests.helpers.browser import Visit, browser
from tests.helpers.metrics_samples import clips, evaluation_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--videos", type=Path)
    args = parser.parse_args()
    labels = tuple(f"species number {k:02d}" for k in range(args.labels))
    judged = clips(args.clips, args.clips // 12, 0.75, labels)
    if args.videos is not None:
        files = cycle(sorted(args.videos.rglob("*.mp4")))
        judged = [
            replace(clip, row=replace(clip.row, path=str(next(files)), start_s=k * 1e-6))
            for k, clip in enumerate(judged)
        ]
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        evaluation = evaluation_of(Path(folder), judged, labels)
        scored = time.monotonic()
        page = Path(folder) / "report.html"
        write_report(page, evaluation, Config(), SilentReporter())
        made = time.monotonic()
        print(f"{args.clips} clips, {args.labels} labels: scores {scored - began:.1f} s, page "
              f"{made - scored:.1f} s, {page.stat().st_size / 1e6:.1f} MB")  # fmt: skip
        with browser() as running:
            for _ in range(3):
                began = time.monotonic()
                visit = Visit(running, page)
                visit.page.evaluate("document.body.getBoundingClientRect().height")
                whole = time.monotonic() - began
                load = visit.page.evaluate(
                    "performance.getEntriesByType('navigation')[0].loadEventEnd"
                )
                print(f"opened in {load / 1000:.2f} s by its own clock, {whole:.2f} s with layout")


if __name__ == "__main__":
    main()
