"""Train on a folder of labelled videos and classify another one, from Python.

    python examples/python_api.py LABELLED OTHER --work work --run runs/example [key=value …]

prepare and train continue where they were interrupted, as on the command line. Classifier.classify
keeps no journal: only the command `framewave classify` continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline import Classifier, SilentReporter, evaluate, load_config, prepare, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("labelled", type=Path, help="folder with one sub-folder per label, or CSV")
    parser.add_argument("other", type=Path, help="files to classify")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--run", type=Path, default=Path("runs/example"))
    parser.add_argument("settings", nargs="*", help="key=value, as on the command line")
    args = parser.parse_intermixed_args()

    config, progress = load_config(None, args.settings), SilentReporter()
    prepare(args.labelled, args.work, config, progress)
    train(args.work, args.run, config, progress)
    metrics = evaluate(args.run, None, None, config, progress, audit=False).metrics
    print(f"accuracy on the test split: {metrics['accuracy']:.1%} of {metrics['n']} clips")

    classifier = Classifier.load(args.run, config)
    for prediction in classifier.classify([args.other]):
        if prediction.probabilities is None:
            print(f"{prediction.path}: {prediction.status} ({prediction.error})")
        else:
            label = classifier.task.decision(prediction.probabilities, classifier.labels)
            print(f"{prediction.path}: {label} ({prediction.probabilities.max():.0%})")


if __name__ == "__main__":
    main()
