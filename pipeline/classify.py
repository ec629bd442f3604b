"""Classifying any files with a trained run: the Python API, and the command built on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.clip import ClipSource
from data_prep.clip_store import Outcome
from data_prep.listing import list_table, walk
from data_prep.manifest import ManifestRow, with_file_facts
from data_prep.settings import DecodeSettings
from data_prep.status import DataSetError, Status
from models.audio_front_end import AudioFrontEnd
from pipeline.checkpoint import LoadedModel, ModelCard, load_model
from pipeline.config import Config
from pipeline.decode_pool import DecodePool
from pipeline.encoder import BatchEncoder, resolve_device
from pipeline.engine import EncodedClip, encode_clips
from pipeline.errors import UserError
from pipeline.predictions import Prediction, write_predictions
from pipeline.predictor import predict
from pipeline.reporting import Reporter, Silent
from pipeline.samples import Sample, make_sample

_TABLE_ENDINGS = (".csv", ".txt")


class Classifier:
    """A trained run, ready to classify files.

    >>> Classifier.load("runs/first").classify(["a.mp4", "folder"])  # doctest: +SKIP
    """

    def __init__(self, model: LoadedModel, config: Config | None = None) -> None:
        self.model = model
        self.config = config if config is not None else Config()
        self._encoder: BatchEncoder | None = None

    @classmethod
    def load(cls, run: str | Path, config: Config | None = None) -> Classifier:
        """Read a run folder. Raises UserError where it holds no usable model."""
        return cls(load_model(Path(run)), config)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.card.labels

    def classify(self, paths: Sequence[str | Path]) -> list[Prediction]:
        """One prediction for every file in these files and folders, sorted by path."""
        return list(self.stream(list_inputs([Path(path) for path in paths])))

    def stream(self, rows: Sequence[ManifestRow]) -> Iterator[Prediction]:
        """One prediction per row, in order, each as soon as it is made. Rows need ids."""
        present = [row for row in rows if row.status.usable]
        encoded = self.encode([row.source for row in present])
        for row in rows:
            if not row.status.usable:
                yield Prediction(row.path, row.status, row.error)
                continue
            yield self.predict_clip(next(encoded))

    def encode(self, sources: Iterable[ClipSource]) -> Iterator[EncodedClip]:
        """Decoded and encoded clips, in order, exactly as prep makes them."""
        card = self.model.card
        limits = self.config.limits
        if "max_duration_s" not in self.config.explicit("limits"):
            limits = limits.model_copy(update={"max_duration_s": card.max_duration_s})
        settings = DecodeSettings(
            card.clip,
            limits,
            want_picture=self.model.classifier.uses_picture,
            want_sound=self.model.classifier.uses_sound,
            frames_from_jpegs=card.frames_from_jpegs,
        )
        workers, limit_s = self.config.classify.workers, self.config.limits.chunk_timeout_s
        with DecodePool(workers, limit_s) as pool:
            yield from encode_clips(sources, settings, pool, self._frame_encoder())

    def predict_clip(self, clip: EncodedClip) -> Prediction:
        """The row of one encoded clip; a failed one carries its reason and nothing else."""
        outcome = clip.outcome
        if not outcome.status.usable:
            return Prediction(clip.source.path, outcome.status, outcome.reason)
        return self.predict_sample(clip.source.path, outcome, self.sample(clip))

    def predict_sample(self, path: str, outcome: Outcome, sample: Sample) -> Prediction:
        """The row of one clip; a readable file may still hold nothing this model can judge."""
        missing = self._nothing_to_judge(sample)
        if missing:
            return Prediction(path, Status.NO_USABLE_STREAM, missing)
        return Prediction(
            path,
            outcome.status,
            outcome.reason,
            predict(self.model.classifier, sample),
            outcome.has_video,
            outcome.has_audio,
            outcome.duration_s,
        )

    def sample(self, clip: EncodedClip, front_end: AudioFrontEnd | None = None) -> Sample:
        """The clip as the network takes it (or with another front end, as baselines do).

        A model of sound alone has features [T, 0], widened with zeros that nothing reads.
        """
        width = self.model.card.encoder.n_features
        features = np.concatenate([chunk.features for chunk in clip.chunks])
        if features.shape[1] == 0:
            features = np.zeros((features.shape[0], width), np.float16)
        return make_sample(
            features,
            np.concatenate([chunk.waveform for chunk in clip.chunks]),
            np.concatenate([chunk.has_picture for chunk in clip.chunks]),
            np.concatenate([chunk.has_sound for chunk in clip.chunks]),
            front_end if front_end is not None else self.model.front_end,
        )

    def _nothing_to_judge(self, sample: Sample) -> str:
        """Why a readable file gives this model nothing to see or hear, or ""."""
        net = self.model.classifier
        sees = net.uses_picture and bool(sample.has_picture.any())
        hears = net.uses_sound and bool(sample.has_sound.any())
        if sees or hears:
            return ""
        kind = "picture" if net.uses_picture else "sound"
        return f"the model judges by {kind} alone, and this file has none"

    def _frame_encoder(self) -> BatchEncoder | None:
        if not self.model.classifier.uses_picture:
            return None
        if self._encoder is None:
            device = resolve_device(self.config.device)
            self._encoder = BatchEncoder(
                self.model.frame_encoder(), device, self.config.classify.frame_batch
            )
        return self._encoder


def refuse_other_than_card(config: Config, card: ModelCard, run: Path) -> None:
    """Raise UserError where clip or model settings are asked for that are not the model's own."""
    for group, own in (("clip", card.clip), ("model", card.model)):
        for key, value in config.explicit(group).items():
            have = getattr(own, key)
            if have != value:
                raise UserError(
                    f"{group}.{key}={value} contradicts the model in {run}, which was made with "
                    f"{group}.{key}={have}; leave the key out"
                )


def list_inputs(inputs: Sequence[Path]) -> list[ManifestRow]:
    """A row with id for every file of files, folders and lists, sorted, each once.

    Raises UserError for an input that does not exist or a folder without files.
    """
    rows: dict[str, ManifestRow] = {}
    for given in inputs:
        for row in _list_input(given):
            rows.setdefault(row.path, with_file_facts(row))
    return [rows[path] for path in sorted(rows)]


def _list_input(given: Path) -> list[ManifestRow]:
    if given.is_dir():
        files = walk(given)
        if not files:
            raise UserError(f"{given} holds no files to classify")
        return [ManifestRow(path=str(file)) for file in files]
    if not given.exists():
        raise UserError(f"{given} does not exist; INPUT is a folder, a file or a list of files")
    if given.suffix.lower() in _TABLE_ENDINGS:
        return _list_table(given)
    return [ManifestRow(path=str(given.absolute()))]


def _list_table(given: Path) -> list[ManifestRow]:
    """Files a list names: a CSV with a column path, or plain lines. One row per file."""
    try:
        rows = list_table(given)
    except DataSetError:
        lines = given.read_text("utf-8-sig", "surrogateescape").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names or given.suffix.lower() == ".csv":
            raise
        rows = [ManifestRow(path=str((given.parent / name).absolute())) for name in names]
    return [
        row
        if Path(row.path).exists()
        else ManifestRow(path=row.path, status=Status.MISSING, error=f"named in {given.name}")
        for row in {row.path: ManifestRow(path=row.path) for row in rows}.values()
    ]


@dataclass(frozen=True)
class ClassifySummary:
    """What classify did: rows by status, and how many were taken from an earlier run."""

    by_status: dict[str, int]
    reused: int


def classify(
    inputs: Sequence[Path], run: Path, out: Path, config: Config, report: Reporter | None = None
) -> ClassifySummary:
    """Classify into a table, written as it goes and continued by the same command."""
    from pipeline.journal import Journal

    report = report or Silent()
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out names the table to write")
    classifier = Classifier.load(run, config)
    refuse_other_than_card(config, classifier.model.card, run)
    journal_path = Path(f"{out}.journal")
    own = {str(out.absolute()), str(journal_path.absolute())}
    rows = [row for row in list_inputs(inputs) if row.path not in own]
    if not rows:
        raise UserError("there is nothing to classify but this command's own table")
    header: dict[str, Any] = {
        "model": classifier.model.digest,
        "limits": json.loads(config.limits.model_dump_json()),
        "device": resolve_device(config.device).type,
    }
    journal = Journal(journal_path, header)
    known = journal.open()
    todo = [row for row in rows if row.id not in known]
    done = {row.id: known[row.id] for row in rows if row.id in known}
    if done and todo:
        report.note(f"{len(done)} files were classified before; {len(todo)} to go")
    report.start("classifying", len(rows))
    report.advance(len(done))
    failed = 0
    with journal:
        for row, prediction in zip(todo, classifier.stream(todo), strict=True):
            journal.add(row.id, prediction)
            done[row.id] = prediction
            failed += not prediction.status.usable
            report.advance(1, f"{failed} failed" if failed else "")
    report.finish()
    predictions = [done[row.id] for row in rows]
    write_predictions(out, predictions, classifier.labels, classifier.model.digest)
    counts: dict[str, int] = {}
    for prediction in predictions:
        counts[str(prediction.status)] = counts.get(str(prediction.status), 0) + 1
    return ClassifySummary(counts, len(rows) - len(todo))
