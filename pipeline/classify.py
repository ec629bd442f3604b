"""Classifying any files with a trained run: the Python API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep.clip import ClipSource
from data_prep.clip_store import Outcome
from data_prep.manifest import ManifestRow
from data_prep.settings import DecodeSettings, LimitSettings
from models.audio_front_end import AudioFrontEnd
from pipeline.checkpoint import LoadedModel, load_model
from pipeline.config import Config
from pipeline.decode_pool import DecodePool
from pipeline.encoder import BatchEncoder, resolve_device
from pipeline.engine import EncodedChunk, EncodedClip, EncodedItem, encode_clips
from pipeline.inputs import list_inputs
from pipeline.predictions import Prediction
from pipeline.predictor import ClipJudge, nothing_to_judge, predict, row_of
from pipeline.samples import Sample, make_sample

Progress = Callable[[float], None]


def _quiet(media_s: float) -> None:
    pass


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

    def stream(
        self, rows: Sequence[ManifestRow], progress: Progress = _quiet
    ) -> Iterator[Prediction]:
        """One prediction per row, in order, each as soon as it is made. Rows need ids.

        progress: told how many seconds of recording each piece of work held.
        """
        present = [row for row in rows if row.status.usable]
        judged = self._judged([row.source for row in present], progress)
        for row in rows:
            if row.status.usable:
                yield next(judged)
            else:
                yield Prediction(row.path, row.status, row.error)

    def _judged(self, sources: Iterable[ClipSource], progress: Progress) -> Iterator[Prediction]:
        judge = ClipJudge(self.model)
        for source, item in self.encode(sources):
            if isinstance(item, EncodedChunk):
                judge.push(item)
                progress(item.n_steps * self.model.card.clip.step_s)
            else:
                yield judge.finish(source.path, item)
                judge = ClipJudge(self.model)

    def encode(self, sources: Iterable[ClipSource]) -> Iterator[EncodedItem]:
        """Decoded and encoded clips, in order, exactly as prep makes them."""
        card = self.model.card
        settings = DecodeSettings(
            card.clip,
            self.limits,
            want_picture=self.model.classifier.uses_picture,
            want_sound=self.model.classifier.uses_sound,
            frames_from_jpegs=card.frames_from_jpegs,
        )
        with DecodePool(self.config.classify.workers) as pool:
            yield from encode_clips(sources, settings, pool, self._frame_encoder())

    @property
    def limits(self) -> LimitSettings:
        """The limits as configured; clips are cut where the training clips were, unless asked."""
        limits = self.config.limits
        if "max_duration_s" not in self.config.explicit("limits"):
            limits = limits.model_copy(update={"max_duration_s": self.model.card.max_duration_s})
        return limits

    def predict_sample(self, path: str, outcome: Outcome, sample: Sample) -> Prediction:
        """The row of one clip that is at hand whole."""
        net = self.model.classifier
        seen, heard = bool(sample.has_picture.any()), bool(sample.has_sound.any())
        nothing = nothing_to_judge(net, seen, heard) if outcome.status.usable else ""
        judged = outcome.status.usable and not nothing
        return row_of(path, outcome, nothing, predict(net, sample) if judged else None)

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

    def _frame_encoder(self) -> BatchEncoder | None:
        if not self.model.classifier.uses_picture:
            return None
        if self._encoder is None:
            device = resolve_device(self.config.device)
            self._encoder = BatchEncoder(
                self.model.frame_encoder(), device, self.config.classify.frame_batch
            )
        return self._encoder
