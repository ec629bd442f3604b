"""Classify any files with a trained run: the Python API.

Decoding starts as soon as model.json is read; torch is loaded in the meantime.
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
from pipeline.tasks.base import Task

if TYPE_CHECKING:
    from models.audio.front_end import AudioFrontEnd
    from models.backbones.frame_encoder import FrameEncoder
    from pipeline.checkpoints.checkpoint import LoadedModel
    from pipeline.features.samples import Sample
    from pipeline.inference.predictor import StreamingPredictor


Progress = Callable[[float], None]

_MOST_HELD_BYTES = 64 * 1024 * 1024  # of encoded chunks that wait for torch


def _do_nothing() -> None:
    pass


def _ignore_progress(media_s: float) -> None:
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
        """How frames were read so far, {strategy: files}; see `data_prep.video.frame_reader`."""
        self._encoders: Encoders | None = None
        self._model: LoadedModel | None = None
        self._loading = threading.RLock()

    @classmethod
    def load(cls, run: str | Path, config: Config | None = None) -> Classifier:
        """Read the model card of a run folder; weights are read when they are first needed.

        Raises UserError if the folder holds no valid model.
        """
        return cls(Path(run), read_description(Path(run)), config)

    @property
    def model(self) -> LoadedModel:
        """The trained network. Raises UserError if the run's files do not match each other."""
        # two threads may get here; loading draws random weights before it reads the trained ones
        with self._loading:
            if self._model is None:
                from pipeline.checkpoints.checkpoint import load_model

                self._model = load_model(self.run)
            return self._model

    @cached_property
    def backend(self) -> Backend:
        """The backend that runs the frame encoder here. Raises UserError if none can."""
        return resolve_backend(self.config, self.card.encoder.name)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels  # in the order of the probabilities

    @property
    def task(self) -> Task:
        """What the model predicts about a clip. Raises UserError for an unknown task."""
        return self.card.get_task()

    @property
    def backend_note(self) -> str:
        """A note if features are computed by another backend than in training, or ""."""
        trained_with = (self.card.encoder.backend, self.card.encoder.precision)
        here = (self.backend.name, self.backend.precision)
        if trained_with == here or not (self.card.uses_video or self.card.uses_spectrograms):
            return ""
        return (
            f"the model was trained on features made by {' in '.join(trained_with)}, here they are "
            f"made by {' in '.join(here)}: probabilities may differ slightly (set classify.backend "
            "and classify.precision to choose)"
        )

    def classify(self, paths: Sequence[str | Path]) -> list[Prediction]:
        """One prediction per file in these files and folders, or per part that a table lists.

        Raises UserError for a path that does not exist or a folder without files.
        """
        rows = list_inputs([Path(path) for path in paths], self.config.labels).rows
        predictions = {row.key: prediction for row, prediction in self.stream(rows)}
        # in the order of the paths, not of completion
        return [predictions[row.key] for row in rows]

    def stream(
        self, rows: Sequence[ManifestRow], progress: Progress = _ignore_progress
    ) -> Iterator[tuple[ManifestRow, Prediction]]:
        """Each row with its prediction as soon as it is ready, in any order. Rows need ids.

        progress: called with the seconds of recording that were processed.
        """
        for row in rows:
            if not row.status.usable:
                yield row, Prediction(row.path, row.status, row.error)
        readable = {row.id: row for row in rows if row.status.usable}
        if not readable:
            return
        order = longest_first(list(readable.values()), self.config.classify.workers)
        for source, prediction in self._predict_clips([row.source for row in order], progress):
            yield readable[source.id], prediction

    def _predict_clips(
        self, sources: Iterable[ClipSource], progress: Progress
    ) -> Iterator[tuple[ClipSource, Prediction]]:
        """Clips are classified concurrently, chunk by chunk as they arrive.

        Torch is loaded after the encoder is open: loading both at once would compete for the
        interpreter lock, and the CNN would start a second later.
        """
        predictors: dict[str, StreamingPredictor] = {}
        waiting: list[EncodedItem] = []
        # daemon: Ctrl-C must not wait for torch
        loading = threading.Thread(target=self._load_quietly, daemon=True)
        # any order: a long file does not hold back the others
        for item in self.encode(sources, in_order=False, on_open=loading.start):
            waiting.append(item)
            if loading.is_alive() and _bytes_of(waiting) < _MOST_HELD_BYTES:
                continue  # decoding and encoding continue while torch is loaded
            loading.join()
            yield from self._predict_items(waiting, predictors, progress)
            waiting.clear()
        loading.join()
        yield from self._predict_items(waiting, predictors, progress)

    def _predict_items(
        self,
        items: list[EncodedItem],
        predictors: dict[str, StreamingPredictor],
        progress: Progress,
    ) -> Iterator[tuple[ClipSource, Prediction]]:
        from pipeline.inference.predictor import StreamingPredictor, WindowSteps

        sizes = self.window_steps
        windows = None if sizes is None else WindowSteps(*sizes)
        for source, item in items:
            predictor = predictors.get(source.id) or StreamingPredictor(self.model, windows)
            if isinstance(item, EncodedChunk):
                predictors[source.id] = predictor
                predictor.push(item)
                progress(item.n_steps * self.card.clip.step_s)
            else:
                predictors.pop(source.id, None)  # the clip is complete; frees its state
                if item.decode_strategy:
                    self.decode_strategies[item.decode_strategy] += 1
                # the last step reaches past the end of the clip
                steps_s = item.n_steps * self.card.clip.step_s
                progress(min(0.0, (item.duration_s or steps_s) - steps_s))
                yield source, predictor.finish(source.path, item)

    def _load_quietly(self) -> None:
        """Load torch and the network; an error is raised again when the network is needed."""
        with suppress(UserError):  # an exception in a thread would only be printed
            _ = self.model

    def encode(
        self,
        sources: Iterable[ClipSource],
        in_order: bool = True,
        on_open: Callable[[], None] = _do_nothing,
    ) -> Iterator[EncodedItem]:
        """Decode and encode clips exactly as prep does; chunks of different clips interleave.

        on_open: called once the decoders are running and the encoder is open.
        """
        card = self.card
        settings = DecodeSettings(
            card.clip,
            self.limits,
            want_video=card.uses_video,
            want_audio=card.uses_audio,
            frames_from_jpegs=card.frames_from_jpegs,  # as in training, see ModelCard
        )

        def open_and_notify() -> Encoders:
            encoders = self._open_encoders()
            on_open()
            return encoders

        with DecodePool(self.config.classify.workers) as pool:
            yield from encode_clips(sources, settings, pool, open_and_notify, in_order)

    @property
    def window_steps(self) -> tuple[int, int] | None:
        """(length, hop) of classify.window_s and classify.hop_s in time steps; None without them.

        Raises UserError for a task that already has a prediction for each step.
        """
        window_s, hop_s = self.config.classify.window_s, self.config.classify.hop_s
        if window_s is None:
            return None
        if not self.task.per_clip:
            raise UserError(
                "classify.window_s is for models that label whole clips, not for this one (task="
                f"{self.task.name})"
                + (": segments.csv says when" if self.task.has_segments else "")
            )
        step_s = self.card.clip.step_s
        length = max(1, round(window_s / step_s))
        hop = length if hop_s is None else max(1, round(hop_s / step_s))
        return length, min(hop, length)

    @property
    def limits(self) -> LimitSettings:
        """The configured limits; max_duration_s is that of training unless it is set."""
        limits = self.config.limits
        if limits.max_duration_s is None:  # longer clips would differ from all training clips
            limits = limits.model_copy(update={"max_duration_s": self.card.max_duration_s})
        return limits

    def predict_sample(self, path: str, outcome: ClipOutcome, sample: Sample) -> Prediction:
        """The row of one clip whose sample is complete, without streaming."""
        from pipeline.inference.predictor import predict, prediction_row

        net = self.model.classifier
        has_video, has_audio = bool(sample.video_mask.any()), bool(sample.audio_mask.any())
        missing = missing_modalities(net, has_video, has_audio) if outcome.status.usable else ""
        usable = outcome.status.usable and not missing
        return prediction_row(
            path, outcome, missing, predict(self.model, sample) if usable else None
        )

    def sample(self, clip: EncodedClip, front_end: AudioFrontEnd | None = None) -> Sample:
        """The clip as input of the network. front_end: another one, which baselines use.

        A model of sound alone has frame features [T, 0]; they are filled with zeros [T, D] that
        nothing reads.
        """
        from pipeline.features.samples import make_sample

        width = self.card.frame_features
        # [T, D], or [T, 0] for sound alone
        features = np.concatenate([chunk.features for chunk in clip.chunks])
        if features.shape[1] == 0:  # sound alone: no frames were encoded
            features = np.zeros((features.shape[0], width), np.float16)
        return make_sample(
            features,
            self._audio_input(
                clip.chunks, front_end if front_end is not None else self.model.front_end
            ),
            np.concatenate([chunk.video_mask for chunk in clip.chunks]),
            np.concatenate([chunk.audio_mask for chunk in clip.chunks]),
            front_end if front_end is not None else self.model.front_end,
        )

    def _audio_input(
        self, chunks: Sequence[EncodedChunk], front_end: AudioFrontEnd
    ) -> Samples | Float16Array:
        if not front_end.takes_windows:
            return np.concatenate([chunk.samples for chunk in chunks])  # [S]
        windows = [
            chunk.spectrogram_features for chunk in chunks if chunk.spectrogram_features is not None
        ]
        if windows:
            return np.concatenate(windows)  # [T · inputs_per_step, n_bands]
        # a model without sound computes no spectrogram features
        n_steps = sum(chunk.n_steps for chunk in chunks)
        return np.zeros((n_steps * front_end.inputs_per_step, front_end.n_bands), np.float16)

    def _open_encoders(self) -> Encoders:
        """The encoders this model needs, opened on the first call."""
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
    """Large files first, so that no core is left alone with a long file at the end.

    The few smallest come before them, so that the first rows appear at once.
    """
    ordered = sorted(rows, key=lambda row: -(row.size_bytes or 0))
    n_cores = min(len(ordered), count_cores(workers))
    return ordered[len(ordered) - n_cores :] + ordered[: len(ordered) - n_cores]


def _bytes_of(items: Sequence[EncodedItem]) -> int:
    return sum(item.size_bytes for _, item in items if isinstance(item, EncodedChunk))
