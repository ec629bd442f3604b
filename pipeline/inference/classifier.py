"""Classifying any files with a trained run: the Python API.

Decoding begins as soon as model.json is read; torch is loaded meanwhile.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.clip import ClipSource, Samples
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.manifest import ManifestRow
from data_prep.settings import DecodeSettings, LimitSettings
from pipeline.checkpoints.model_card import ModelDescription, missing_modalities, read_description
from pipeline.config import Config
from pipeline.cores import count_cores
from pipeline.errors import UserError
from pipeline.features.backend import Backend, resolve_backend
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encode_stream import Encoders, encode_clips
from pipeline.features.encoded_clip import EncodedChunk, EncodedClip, EncodedItem
from pipeline.features.feature_extractor import open_encoders
from pipeline.inference.inputs import list_inputs
from pipeline.storage.predictions import Prediction
from pipeline.tasks import get_task
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from models.audio.front_end import AudioFrontEnd
    from models.backbones.frame_encoder import FrameEncoder
    from pipeline.checkpoints.checkpoint import LoadedModel
    from pipeline.features.samples import Sample
    from pipeline.inference.predictor import StreamingPredictor


Progress = Callable[[float], None]

_MOST_HELD_BYTES = 64 * 1024 * 1024


def _no_action() -> None:
    pass


def _no_progress(media_s: float) -> None:
    pass


class Classifier:
    """A trained run, ready to classify files.

    >>> Classifier.load("runs/first").classify(["a.mp4", "folder"])  # doctest: +SKIP
    """

    def __init__(
        self, run: Path, description: ModelDescription, config: Config | None = None
    ) -> None:
        self.run, self.card, self.digest = run, description.card, description.digest
        self.config = config if config is not None else Config()
        self.decode_strategies: Counter[str] = Counter()
        """How the frames of the files so far were read (see `data_prep.video.frame_reader`)."""
        self._encoders: Encoders | None = None
        self._model: LoadedModel | None = None
        self._loading = threading.RLock()

    @classmethod
    def load(cls, run: str | Path, config: Config | None = None) -> Classifier:
        """Read what a run folder says of itself; its weights are read when they are needed.

        Raises UserError where it holds no model.
        """
        return cls(Path(run), read_description(Path(run)), config)

    @property
    def model(self) -> LoadedModel:
        """The trained network. Raises UserError where the run's files do not fit each other."""
        with self._loading:  # two threads may ask, and weights are drawn before they are read
            if self._model is None:
                from pipeline.checkpoints.checkpoint import load_model

                self._model = load_model(self.run)
            return self._model

    @cached_property
    def backend(self) -> Backend:
        """What runs the frame encoder here. Raises UserError where that is not possible."""
        return resolve_backend(self.config, self.card.encoder.name)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    @property
    def task(self) -> Task:
        """What the model is asked about a clip. Raises UserError for a task that is not known."""
        return get_task(self.card.task)

    @property
    def backend_note(self) -> str:
        """What is to be said where features are made otherwise than in training, or ""."""
        was = (self.card.encoder.backend, self.card.encoder.precision)
        now = (self.backend.name, self.backend.precision)
        if was == now or not (self.card.uses_video or self.card.uses_spectrograms):
            return ""
        return (
            f"the model was trained on features made by {' in '.join(was)}, here they are made by "
            f"{' in '.join(now)}: probabilities may differ a little (classify.backend and "
            "classify.precision choose)"
        )

    def classify(self, paths: Sequence[str | Path]) -> list[Prediction]:
        """One prediction for every file in these files and folders, or part that a table names."""
        rows = list_inputs([Path(path) for path in paths], self.config.labels).rows
        made = {row.key: prediction for row, prediction in self.stream(rows)}
        return [made[row.key] for row in rows]

    def stream(
        self, rows: Sequence[ManifestRow], progress: Progress = _no_progress
    ) -> Iterator[tuple[ManifestRow, Prediction]]:
        """Each row with its prediction as soon as it is made, in whatever order. Rows need ids.

        progress: told how many seconds of recording each piece of work held.
        """
        for row in rows:
            if not row.status.usable:
                yield row, Prediction(row.path, row.status, row.error)
        present = {row.id: row for row in rows if row.status.usable}
        if not present:
            return
        order = longest_first(list(present.values()), self.config.classify.workers)
        for source, prediction in self._predict_clips([row.source for row in order], progress):
            yield present[source.id], prediction

    def _predict_clips(
        self, sources: Iterable[ClipSource], progress: Progress
    ) -> Iterator[tuple[ClipSource, Prediction]]:
        """Clips are judged side by side, each chunk when it comes.

        Torch is loaded after the encoder was opened: both at once take turns in the interpreter,
        and the CNN would begin a second later.
        """
        judges: dict[str, StreamingPredictor] = {}
        held: list[EncodedItem] = []
        loading = threading.Thread(target=self._load_quietly, daemon=True)
        for item in self.encode(sources, in_order=False, under_way=loading.start):
            held.append(item)
            if loading.is_alive() and _bytes_of(held) < _MOST_HELD_BYTES:
                continue  # decoding and encoding go on while torch is loaded
            loading.join()
            yield from self._predict_items(held, judges, progress)
            held.clear()
        loading.join()
        yield from self._predict_items(held, judges, progress)

    def _predict_items(
        self, items: list[EncodedItem], judges: dict[str, StreamingPredictor], progress: Progress
    ) -> Iterator[tuple[ClipSource, Prediction]]:
        from pipeline.inference.predictor import StreamingPredictor

        for source, item in items:
            judge = judges.get(source.id) or StreamingPredictor(self.model)
            if isinstance(item, EncodedChunk):
                judges[source.id] = judge
                judge.push(item)
                progress(item.n_steps * self.card.clip.step_s)
            else:
                judges.pop(source.id, None)
                if item.decode_strategy:
                    self.decode_strategies[item.decode_strategy] += 1
                steps_s = item.n_steps * self.card.clip.step_s  # which reach past the clip's end
                progress(min(0.0, (item.duration_s or steps_s) - steps_s))
                yield source, judge.finish(source.path, item)

    def _load_quietly(self) -> None:
        """Load torch and the network; what goes wrong is said when the network is asked for."""
        with suppress(UserError):
            _ = self.model

    def encode(
        self,
        sources: Iterable[ClipSource],
        in_order: bool = True,
        under_way: Callable[[], None] = _no_action,
    ) -> Iterator[EncodedItem]:
        """Decoded and encoded clips, exactly as prep makes them.

        under_way: called when decoders are at work and the encoder is open.
        """
        card = self.card
        settings = DecodeSettings(
            card.clip,
            self.limits,
            want_video=card.uses_video,
            want_audio=card.uses_audio,
            frames_from_jpegs=card.frames_from_jpegs,
        )

        def opened() -> Encoders:
            encoders = self._opened()
            under_way()
            return encoders

        with DecodePool(self.config.classify.workers) as pool:
            yield from encode_clips(sources, settings, pool, opened, in_order)

    @property
    def limits(self) -> LimitSettings:
        """The limits as configured; clips are cut where the training clips were, unless asked."""
        limits = self.config.limits
        if limits.max_duration_s is None:
            limits = limits.model_copy(update={"max_duration_s": self.card.max_duration_s})
        return limits

    def predict_sample(self, path: str, outcome: ClipOutcome, sample: Sample) -> Prediction:
        """The row of one clip that is at hand whole."""
        from pipeline.inference.predictor import predict, prediction_row

        net = self.model.classifier
        seen, heard = bool(sample.video_mask.any()), bool(sample.audio_mask.any())
        nothing = missing_modalities(net, seen, heard) if outcome.status.usable else ""
        judged = outcome.status.usable and not nothing
        return prediction_row(
            path, outcome, nothing, predict(self.model, sample) if judged else None
        )

    def sample(self, clip: EncodedClip, front_end: AudioFrontEnd | None = None) -> Sample:
        """The clip as the network takes it (or with another front end, as baselines do).

        A model of sound alone has features [T, 0], widened with zeros that nothing reads.
        """
        from pipeline.features.samples import make_sample

        width = self.card.frame_features
        features = np.concatenate([chunk.features for chunk in clip.chunks])
        if features.shape[1] == 0:
            features = np.zeros((features.shape[0], width), np.float16)
        return make_sample(
            features,
            self._sound(clip.chunks, front_end if front_end is not None else self.model.front_end),
            np.concatenate([chunk.video_mask for chunk in clip.chunks]),
            np.concatenate([chunk.audio_mask for chunk in clip.chunks]),
            front_end if front_end is not None else self.model.front_end,
        )

    def _sound(
        self, chunks: Sequence[EncodedChunk], front_end: AudioFrontEnd
    ) -> Samples | Float16Array:
        if not front_end.takes_windows:
            return np.concatenate([chunk.samples for chunk in chunks])
        windows = [
            chunk.spectrogram_features for chunk in chunks if chunk.spectrogram_features is not None
        ]
        if windows:
            return np.concatenate(windows)
        n_steps = sum(chunk.n_steps for chunk in chunks)  # a model that does not hear made none
        return np.zeros((n_steps * front_end.inputs_per_step, front_end.n_bands), np.float16)

    def _opened(self) -> Encoders:
        """The encoders that this model needs, opened at the first call."""
        if self._encoders is None:
            card = self.card

            def load() -> FrameEncoder:
                return self.model.frame_encoder()

            self._encoders = open_encoders(
                card.encoder_source(load),
                load,
                card.model,
                card.clip,
                self.backend,
                self.config.classify,
                frames=card.uses_video,
                spectrograms=card.uses_spectrograms,
            )
        return self._encoders


def longest_first(rows: Sequence[ManifestRow], workers: int) -> list[ManifestRow]:
    """Large files first, so that none is left for last when one core has nothing else to do.

    But a few small ones before all: the first rows of a table come at once.
    """
    ordered = sorted(rows, key=lambda row: -(row.size_bytes or 0))
    few = min(len(ordered), count_cores(workers))
    return ordered[len(ordered) - few :] + ordered[: len(ordered) - few]


def _bytes_of(items: Sequence[EncodedItem]) -> int:
    return sum(item.size_bytes for _, item in items if isinstance(item, EncodedChunk))
