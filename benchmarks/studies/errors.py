"""The clips that a crossval's networks name wrongly: PYTHONPATH=. python benchmarks/studies/errors.py RUN

Prints which labels are taken for which, how many groups the errors come from, and each wrong clip
with the probability of the label that was named and of its own, surest first.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from pathlib import Path


def main() -> None:
    with (Path(sys.argv[1]) / "out_of_fold.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["predicted"]]
    wrong = [row for row in rows if row["predicted"] != row["label"]]
    print(
        f"{len(wrong)} of {len(rows)} clips wrong, from {len({r['group'] for r in wrong})} groups"
    )
    of_label = Counter(row["label"] for row in rows)
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for row in wrong:
        taken[row["label"]][row["predicted"]] += 1
    for label, names in sorted(taken.items(), key=lambda pair: -pair[1].total()):
        told = ", ".join(f"{name} {n}" for name, n in names.most_common())
        print(f"{label}: {names.total()} of {of_label[label]} ({told})")
    for row in sorted(wrong, key=lambda row: -float(row["probability"])):
        own = float(row[f"p_{row['label']}"])
        print(
            f"{Path(row['path']).name}: {row['label']} {own:.2f}, taken for {row['predicted']} "
            f"{float(row['probability']):.2f} (group {row['group']}, {row['duration_s']} s)"
        )


if __name__ == "__main__":
    main()
