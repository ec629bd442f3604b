"""One function per command: run the work and print its summary.

Imports are deferred to the functions, so that --help and checks of arguments stay fast.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from data_prep.manifest import ManifestRow, RowLabels, labelled_s
from pipeline.cli.console import ConsoleReporter, out, print_table, say
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.text_format import counted, percent

if TYPE_CHECKING:
    from pipeline.tasks.base import Task


def run_scan(data: Path, work: Path, config: Config) -> Counter[str]:
    """Print what DATA holds and what prep will cost; return the number of rows by status."""
    from pipeline.prep.prep_plan import encodes_mirrored, estimate_work, windows_to_encode
    from pipeline.prep.scanning import estimate_bytes, scan_data, task_of, with_frame_rate
    from pipeline.reporter import SilentReporter
    from pipeline.text_format import duration

    result = scan_data(data, work, config, ConsoleReporter())
    rows = result.rows
    task = task_of(work, config)
    _print_labels(rows, task.row_labels)
    if any(row.segments for row in rows):
        _print_segments(rows, task)
    _print_statuses(Counter(str(row.status) for row in rows), len({row.path for row in rows}))
    usable = [row for row in rows if row.trainable]
    # auto is resolved, since it decides the number of frames
    clip = with_frame_rate(config.clip.sized(), usable)
    needed = estimate_bytes(rows, clip, config.limits.longest_s)
    work_ahead = estimate_work(
        # SilentReporter: prep will give the note about mirroring
        clip, encodes_mirrored(None, config, usable, SilentReporter()),
        windows_to_encode(None, config), usable,
    )  # fmt: skip
    cores = count_cores(config.classify.workers)
    low, high = (60 * m for m in work_ahead.minutes(config.model.frame_encoder, cores))
    say(
        f"{counted(len(usable), 'clip')}, {duration(work_ahead.recorded_s)}; prep will need about "
        f"{needed / 1e9:.2f} GB in {work} and, on {counted(cores, 'core')} without a GPU, "
        + (f"roughly {duration(low)} to {duration(high)}" if high >= 60 else "less than a minute")
        + (f" ({work_ahead.text()})" if work_ahead.calls else "")
    )
    say(f"manifest: {work / 'manifest.csv'}")
    return Counter(str(row.status) for row in rows)


def run_prep(data: Path, work: Path, config: Config) -> Counter[str]:
    """Prepare DATA into WORK; return the number of rows by status."""
    from pipeline.prep.prep import prepare
    from pipeline.prep.scanning import task_of

    summary = prepare(data, work, config, ConsoleReporter())
    _print_labels(summary.rows, task_of(work, config).row_labels)
    _print_statuses(summary.by_status, len({row.path for row in summary.rows}))
    _print_strategies(summary.decode_strategies, summary.reused)
    say(f"prepared {counted(summary.prepared, 'clip')}, {summary.reused} were prepared already")
    say(f"next: framewave train --work {work} --run runs/NAME")
    return summary.by_status


def run_audit(data: Path, work: Path, config: Config, accept: bool) -> None:
    """Audit DATA and print the findings in sentences."""
    from pipeline.leak_audit.audit import audit
    from pipeline.leak_audit.audit_result import AUDIT_FOLDER
    from pipeline.leak_audit.audit_text import summary_text

    found = audit(data, work, config, ConsoleReporter(), accept)
    for text in summary_text(found.summary(), accept):
        say(text)
    say(f"findings: {work / AUDIT_FOLDER / 'findings.csv'}")


def run_train(work: Path, run: Path, config: Config, start_from: Path | None = None) -> None:
    """Train on WORK. start_from: a run whose weights initialise the network."""
    from pipeline.storage.workspace import Workspace

    Workspace(work).prepared()  # fails before seconds are spent on loading torch
    if start_from is not None:
        from pipeline.checkpoints.model_card import read_description

        read_description(start_from)
    from pipeline.training.train import train

    summary = train(work, run, config, ConsoleReporter(), start_from)
    if summary.already_done:
        say(f"{run} is already trained; delete it to train again")
    say(
        f"epoch {summary.best_epoch + 1} of {summary.epochs} kept: validation macro-F1 "
        f"{summary.val_macro_f1:.3f}, accuracy {percent(summary.val_accuracy)}"
        + (f" ({summary.scored_rows})" if summary.scored_rows else "")
    )
    say(f"next: framewave eval --run {run}")


def run_crossval(work: Path, run: Path, config: Config, command: str = "") -> Counter[str]:
    """Cross-validate, then evaluate. command: what was typed, for the report."""
    from pipeline.storage.workspace import Workspace

    Workspace(work).prepared()  # fails before seconds are spent on loading torch
    from pipeline.crossval.crossval import crossval

    summary = crossval(work, run, config, ConsoleReporter()).summary
    eval_config = Config(  # clip, model and train settings come from the run
        device=config.device, classify=config.classify, limits=config.limits, split=config.split,
        labels=config.labels,
    )  # fmt: skip
    counts = run_eval(run, None, None, eval_config, command=command)
    if summary["seeds"] > 1:  # the scores above are those of the ensemble of all seeds
        say(
            f"accuracy of a single seed: {summary['accuracy_mean']:.1%} ± "
            f"{summary['accuracy_deviation']:.1%} (mean and deviation of {summary['seeds']})"
        )
    training = "trained on all clips" if summary["final"] == "all" else "from all folds"
    networks = "1 network" if summary["networks"] == 1 else f"{summary['networks']} networks"
    say(f"the model in {run}: {networks} {training}")
    say(f"next: framewave classify FOLDER --run {run}")
    return counts


def run_eval(
    run: Path,
    data: Path | None,
    to: Path | None,
    config: Config,
    audit: bool = True,
    command: str = "",
) -> Counter[str]:
    """Evaluate RUN, write its report and print scores, warnings and summary.

    data: another labelled set than the test split; to: folder of the results; command: what was
    typed, for the report. Returns the number of clips by status.
    """
    from pipeline.checkpoints.model_card import read_description

    read_description(run)  # fails before seconds are spent on loading torch
    from pipeline.evaluation.evaluate import evaluate
    from pipeline.evaluation.evaluation_files import REPORT_NAME, eval_folder
    from pipeline.report.report import section, write_report

    reporter = ConsoleReporter()
    evaluation = evaluate(run, data, to, config, reporter, audit)
    page = eval_folder(run, to) / REPORT_NAME
    write_report(page, evaluation, config, reporter, command)
    columns, rows, sentences = section(evaluation.task.report_sections[0]).console(evaluation)
    print_table(columns, rows)
    for text in sentences:
        say(text)
    say(f"report: {page}")
    return Counter(str(clip.prediction.status) for clip in evaluation.clips)


def run_compare(runs: list[Path], to: Path | None) -> None:
    """Compare runs with the first one; `to`: folder for the page and its tables."""
    from pipeline.evaluation.comparison import COMPARE_CSV, COMPARE_PAGE, compare
    from pipeline.report.comparison_report import comparison_text
    from pipeline.text_format import gain_span, in_points, percent, span

    found = compare(runs, to)
    scores = [found.first, *(other.scores for other in found.others)]
    gains = [
        f"{in_points(other.difference.mean)} ({gain_span(vars(other.difference))})"
        for other in found.others
    ]
    rows = [
        [run.name, f"{percent(s['accuracy'])} ({span(s['accuracy_interval'])})",
         f"{s['macro_f1']:.3f}", gain]
        for run, s, gain in zip(found.runs, scores, ["", *gains], strict=True)
    ]  # fmt: skip
    print_table(["", "accuracy", "macro-F1", "against the first"], rows)
    for text in comparison_text(found):
        say(text)
    if to is not None:
        from pipeline.report.comparison_report import write_compare_page

        write_compare_page(to / COMPARE_PAGE, found)
        say(f"clips that changed: {to / COMPARE_CSV}")
        say(f"page: {to / COMPARE_PAGE}")


def run_classify(paths: list[Path], run: Path, to: Path, config: Config) -> Counter[str]:
    """Classify files into the table `to`; return the number of rows by status."""
    from pipeline.errors import UserError
    from pipeline.inference.classify_table import classify

    if not paths:
        raise UserError("nothing to classify: give a folder, files or a list of files")
    summary = classify(paths, run, to, config, ConsoleReporter())
    _print_statuses(summary.by_status, summary.n_files)
    _print_strategies(summary.decode_strategies, summary.reused)
    if summary.reused:
        say(f"{counted(summary.reused, 'row')} taken from an earlier run of this command")
    say(f"table: {to}")
    return summary.by_status


def run_inspect(file: Path, run: Path | None, sheet: Path | None, config: Config) -> None:
    """Print what is in one file, and the input that the model would get."""
    from pipeline.cli.diagnostics import inspect_file

    for line in inspect_file(file, run, sheet, config):
        say(line)


def run_doctor(config: Config) -> bool:
    """Print every check as it ends; return whether all passed."""
    from pipeline.cli.diagnostics import examine

    all_passed = True
    for check in examine(config):  # printed one by one: the later checks take seconds
        all_passed &= check.passed
        mark = "[green]ok[/]  " if check.passed else "[red]fail[/]"
        out.print(f"{mark} {check.name}:", end=" ")
        say(check.finding)
    return all_passed


def _print_segments(rows: list[ManifestRow], task: Task) -> None:
    """Print number and lengths of the segments of each label, and the share of background; or of
    the numbers of a series, their range."""
    if task.settings.target is not None:
        numbers = [float(s.label) for row in rows if row.trainable for s in row.segments]
        if numbers:
            shown = f"{min(numbers):.6g} to {max(numbers):.6g}, median {median(numbers):.6g}"
            say(f"{counted(len(numbers), 'number')} of {task.settings.target}: {shown}")
        return
    lengths_s: dict[str, list[float]] = defaultdict(list)
    files_of: dict[str, set[str]] = defaultdict(set)
    known = [row for row in rows if row.trainable and row.planned_duration_s is not None]
    total_s = sum(row.planned_duration_s or 0.0 for row in known)
    for row in known:
        for segment in row.segments:
            end_s = min(segment.end_s, row.planned_duration_s or 0.0)
            lengths_s[segment.label].append(max(0.0, end_s - segment.start_s))
            files_of[segment.label].add(row.path)
    table = [
        [label, str(len(of_label)), str(len(files_of[label])), f"{min(of_label):.1f}",
         f"{median(of_label):.1f}", f"{max(of_label):.1f}", percent(sum(of_label) / total_s)]
        for label, of_label in sorted(lengths_s.items())
    ]  # fmt: skip
    lengths = ("shortest s", "median s", "longest s")
    print_table(["label", "segments", "files", *lengths, "of the time"], table)
    own_s = sum(map(sum, lengths_s.values()))
    n_segments = sum(map(len, lengths_s.values()))
    rest = max(0.0, total_s - own_s)
    what = (
        "without a label, and not used"
        if task.settings.unlabelled == "ignore"
        else f"'{task.settings.background}'"
    )
    say(
        f"{counted(n_segments, 'segment')} of {counted(len(lengths_s), 'label')} in "
        f"{counted(len(known), 'file')}; {percent(rest / total_s if total_s else 0.0)} of the time "
        f"is {what}"
    )


def _print_labels(rows: list[ManifestRow], row_labels: RowLabels) -> None:
    rows_of: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        for label in set(row_labels(row)) if row.label else ():
            rows_of[label].append(row)
    table = []
    for label, own in sorted(rows_of.items()):
        usable = [row for row in own if row.trainable]  # failed clips are counted apart
        counts = [str(sum(row.split == split for row in usable)) for split in _SPLITS]
        groups = len({row.group for row in usable})
        seconds = sum(labelled_s(row, label, row_labels) for row in usable)
        table.append(
            [label, str(len(usable)), str(len(own) - len(usable)), str(groups), *counts,
             f"{seconds / 60:.1f}"]
        )  # fmt: skip
    print_table(["label", "clips", "failed", "groups", *_SPLITS, "minutes"], table)


_SPLITS = ("train", "val", "test")


def _print_strategies(strategies: Counter[str], reused: int) -> None:
    """Print how frames were read, the most frequent strategy first; nothing without frames."""
    if strategies:
        counts = [f"{strategy} ({count})" for strategy, count in strategies.most_common()]
        which_frames = "frames of the new files" if reused else "frames"
        say(f"{which_frames} read by: {', '.join(counts)}")


def _print_statuses(by_status: Counter[str], n_files: int | None = None) -> None:
    """Print the number of rows by status. n_files: of files, where rows can be parts of them."""
    n_rows = sum(by_status.values())
    parts = [f"{count} {status}" for status, count in sorted(by_status.items())]
    if by_status["not_media"]:
        skipped = by_status["not_media"]
        parts.append(f"{skipped} not_media (no video or sound: tables, text, images, empty files)")
        parts.remove(f"{skipped} not_media")
    # one row per file: "of n files" would say nothing new
    of_files = "" if n_files in (None, n_rows) else f" of {counted(n_files or 0, 'file')}"
    rows = counted(n_rows, "row" if of_files else "file")
    out.print(f"{rows}{of_files}: {', '.join(parts)}", markup=False)
