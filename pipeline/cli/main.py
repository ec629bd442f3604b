"""The command line: commands, options, exit codes and error messages.

Only pipeline/cli prints. Heavy imports are deferred to the commands, so that --help is fast.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UserError, is_disk_full, is_users_file

if TYPE_CHECKING:
    from pipeline.config import Config


def check_packages() -> None:
    """Raise UserError if another package named `models` or `data_prep` hides ours."""
    home = Path(__file__).resolve().parents[2]
    for name in ("data_prep", "models"):
        spec = importlib.util.find_spec(name)
        # resolved: an editable install can go through a link
        found = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
        if found != home / name:
            raise UserError(
                f"the package '{name}' is imported from {found}, not from {home / name}; install "
                "framewave in a virtual environment of its own (make setup) and remove folders "
                "of that name from PYTHONPATH"
            )


EXIT_OURS, EXIT_USER, EXIT_STRICT, EXIT_INTERRUPTED = 1, 2, 3, 130


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not KeyboardInterrupt, which libraries catch and turn into an error."""


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Signal handler: raise Interrupted, once."""
    for same in (signal.SIGINT, signal.SIGTERM):
        signal.signal(same, signal.SIG_IGN)  # further signals must not disturb the shutdown
    raise Interrupted


def print_failure(error: Exception) -> int:
    """Print what went wrong and return the exit code."""
    from data_prep.status import DataSetError
    from pipeline.cli.console import print_error

    if isinstance(error, UserError | DataSetError):
        print_error(str(error))
        return EXIT_USER
    if is_disk_full(error):
        command = same_command()
        print_error(f"the disk is full ({error}); make room, then continue with: {command}")
        return EXIT_USER
    if is_users_file(error):
        # "[Errno 2] No such file …": the number helps nobody
        print_error(str(error).partition("] ")[2] or str(error))
        return EXIT_USER
    traceback.print_exc()  # only our own bugs get a traceback
    print_error("this is a bug in framewave; please report it with the lines above")
    return EXIT_OURS


def print_last_line(text: str) -> None:
    """Print to standard error and flush standard output; for use right before os._exit."""
    from pipeline.cli.console import print_error_line

    print_error_line(text)
    sys.stdout.flush()  # os._exit flushes nothing


def same_command() -> str:
    """What was typed, quoted for a shell."""
    return shlex.join(["framewave", *sys.argv[1:]])


app = typer.Typer(
    name="framewave",
    no_args_is_help=True,  # help when the command is bare
    add_completion=False,
    pretty_exceptions_enable=False,  # main handles every exception itself
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train an audio-visual classifier on a folder of labelled videos, and classify any other "
    "folder with it.\n\nEvery command takes --config FILE and key=value, for example "
    "clip.frame_rate_hz=2; `framewave keys` lists them.",
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="YAML file with settings, or a preset: fast."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value]…", help="Settings; they override the file's."),
]
Work = Annotated[Path, typer.Option("--work", help="Folder for everything that prep writes.")]
Run = Annotated[Path, typer.Option("--run", help="Folder of a trained model.")]
Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with one sub-folder per label, or a CSV.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 if any file failed.")]


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        from pipeline.cli.console import say

        say(f"framewave {version('framewave')} (torch {version('torch')}, PyAV {version('av')})")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        # before the options of a command are checked
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def scan(
    data: Data,
    overrides: Overrides = None,
    work: Work = Path("work"),
    config: ConfigFile = None,
    strict: Strict = False,
) -> None:
    """Show what is in DATA and what would be used; write WORK/manifest.csv."""
    from pipeline.cli.commands import run_scan  # deferred in every command: --help needs none of it

    _finish(run_scan(data, _folder(work, "--work"), _config(config, overrides)), strict)


@app.command()
def prep(
    data: Data,
    overrides: Overrides = None,
    work: Work = Path("work"),
    config: ConfigFile = None,
    strict: Strict = False,
) -> None:
    """Scan, decode and encode DATA into WORK; run it again to continue."""
    from pipeline.cli.commands import run_prep

    _finish(run_prep(data, _folder(work, "--work"), _config(config, overrides)), strict)


@app.command()
def audit(
    data: Data,
    overrides: Overrides = None,
    work: Work = Path("work"),
    accept: Annotated[
        bool, typer.Option("--accept", help="Write the proposed groups into WORK/manifest.csv.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Find clips of the same recording across splits, folds, groups or labels of DATA."""
    from pipeline.cli.commands import run_audit

    run_audit(data, _folder(work, "--work"), _config(config, overrides), accept)


@app.command()
def train(
    overrides: Overrides = None,
    work: Work = Path("work"),
    run: Run = Path("runs/first"),
    start_from: Annotated[
        Path | None,
        typer.Option("--from", help="Start from the weights of this run; labels may be added."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Train on WORK and write the model to RUN; run it again to continue."""
    from pipeline.cli.commands import run_train

    run_train(work, _folder(run, "--run"), _config(config, overrides), start_from)


@app.command()
def crossval(
    overrides: Overrides = None,
    work: Work = Path("work"),
    run: Run = Path("runs/crossval"),
    config: ConfigFile = None,
    strict: Strict = False,
) -> None:
    """Evaluate every clip of WORK out of fold; write a final model to RUN."""
    from pipeline.cli.commands import run_crossval

    settings = _config(config, overrides)
    _finish(run_crossval(work, _folder(run, "--run"), settings, same_command()), strict)


@app.command("eval")
def evaluate(
    overrides: Overrides = None,
    run: Run = Path("runs/first"),
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A labelled data set to use instead of the test split."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the results; default: RUN/eval.")
    ] = None,
    audit: Annotated[
        bool, typer.Option(help="Check for clips of the same recording in training and evaluation.")
    ] = True,
    config: ConfigFile = None,
    strict: Strict = False,
) -> None:
    """Evaluate RUN on its test split: report.html, metrics.json, predictions.csv in RUN/eval."""
    from pipeline.cli.commands import run_eval

    settings = _config(config, overrides)
    _finish(run_eval(run, data, out, settings, audit, same_command()), strict)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Evaluated runs.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for compare.html, compare.json, changed.csv."),
    ] = None,
) -> None:
    """Compare runs evaluated on the same clips, each against the first."""
    from pipeline.cli.commands import run_compare

    run_compare(runs, out)


@app.command()
def classify(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT… [key=value]…", help="Folders, files or lists.")
    ],
    run: Run = Path("runs/first"),
    out: Annotated[Path, typer.Option("--out", help="The table to write.")] = Path(
        "predictions.csv"
    ),
    config: ConfigFile = None,
    strict: Strict = False,
) -> None:
    """Classify any files into a table, one row per file; run it again to continue."""
    from pipeline.cli.commands import run_classify
    from pipeline.config import is_override

    # files and key=value share one list of arguments
    settings = _config(config, [word for word in inputs if is_override(word)])
    paths = [Path(word) for word in inputs if not is_override(word)]
    _finish(run_classify(paths, run, out, settings), strict)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video or sound file.")],
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Use the clip settings of this trained run.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write the sampled frames as one image.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Show what is in one file, and the input that the model would get."""
    from pipeline.cli.commands import run_inspect

    run_inspect(file, run, sheet, _config(config, overrides))


@app.command()
def doctor(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Check what works on this machine: decoders, GPU, weights, versions."""
    from pipeline.cli.commands import run_doctor

    if not run_doctor(_config(config, overrides)):
        raise typer.Exit(EXIT_OURS)


@app.command()
def keys(
    groups: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP]…", help="Only these groups: train, clip …"),
    ] = None,
) -> None:
    """List every setting, or those of some groups, with its default and meaning."""
    from pipeline.cli.console import out
    from pipeline.config import describe_keys
    from pipeline.errors import nearest

    all_keys = list(describe_keys())
    known = {key.partition(".")[0] for key, _, _ in all_keys} | {key for key, _, _ in all_keys}
    for group in groups or []:
        if group not in known:
            raise UserError(f"there is no group or key '{group}'.{nearest(group, known)}")
    for key, sentence, default in all_keys:
        if groups and key not in groups and key.partition(".")[0] not in groups:
            continue
        # as YAML and the command line write it
        value = "null" if default is None else str(default).lower()
        out.print(f"{key}={value}\n    {sentence}", markup=False)


@app.command()
def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for everything it writes.")] = Path(
        "demo"
    ),
    clips: Annotated[int, typer.Option(min=40, help="Labelled clips, and as many new ones.")] = 208,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the clips and of training.")] = 0,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Long videos, labelled in time, instead of clips.")
    ] = False,
) -> None:
    """Make labelled videos, train on them, classify others, and show how well that went."""
    if timeline:
        from pipeline.cli.demo_timeline import run_timeline_demo

        run_timeline_demo(out, seed, overrides or [])
        return
    from pipeline.cli.demo import run_demo

    run_demo(out, clips, seed, overrides or [])


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 our fault, 2 the user's, 3 --strict, 130 interrupted."""
    try:
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, interrupt)
        # TensorFlow, if installed, logs on import
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # waiting OpenMP threads sleep: spinning beside other programs costs many times the work
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        check_packages()
        app()
    except Interrupted:
        print_last_line(f"interrupted; finished work is kept, continue with: {same_command()}")
        # not sys.exit: cleanup by libraries would take seconds, and everything is saved already
        os._exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of our output is gone, as with `| head`
        sys.exit(EXIT_OURS)
    except Exception as error:  # noqa: BLE001 - the last resort
        sys.exit(print_failure(error))


def _config(file: Path | None, overrides: Sequence[str] | None) -> Config:
    from pipeline.config import load_config

    return load_config(file, overrides or [])


def _folder(path: Path, option: str) -> Path:
    if path.exists() and not path.is_dir():  # checked before work starts that could not be saved
        raise UserError(f"{option} {path} is a file; it must be a folder, existing or new")
    return path


def _finish(by_status: Counter[str], strict: bool) -> None:
    # a partial file has a prediction, so it did not fail
    if strict and any(status not in ("ok", "partial") for status in by_status):
        raise typer.Exit(EXIT_STRICT)
