"""Clips to probabilities, one at a time: the result must not depend on other clips of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from data_prep.clip import Samples
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.status import Status
from models.classifier import HeadStates
from models.ensemble import Decoded, EnsembleStream
from models.streaming import StepChunk, concat_chunks, slice_steps
from pipeline.checkpoints.checkpoint import LoadedModel
from pipeline.checkpoints.model_card import missing_modalities
from pipeline.errors import UserError
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.encoded_clip import EncodedChunk
from pipeline.features.samples import Sample, collate, one_thread
from pipeline.storage.predictions import Classes, Prediction, Probabilities, WindowPrediction


@dataclass(frozen=True)
class ClipRows:
    """Probabilities of one clip, float64 [K], or [N, K] of tasks with several rows.

    classes: int64 [N], as a decoder wrote them, else None.
    """

    probabilities: Probabilities
    classes: Classes | None = None


def predict(model: LoadedModel, sample: Sample) -> ClipRows:
    """The rows of one clip. Raises UserError if the network returns values that are not finite."""
    with torch.inference_mode(), one_thread():
        # one thread: results must not depend on the number of cores
        batch = collate([sample])
        return _rows(model, [member.head_states(batch) for member in model.classifier.eval()])


def prediction_row(
    path: str, outcome: ClipOutcome, missing: str, rows: ClipRows | None
) -> Prediction:
    """The row of one clip: its probabilities, or the reason why there are none.

    missing: why the clip has no stream that the model uses, or "".
    """
    if not outcome.status.usable:
        return Prediction(path, outcome.status, outcome.reason)
    if missing:  # readable, but without a stream that the model uses
        return Prediction(path, Status.NO_USABLE_STREAM, missing)
    return Prediction(
        path, outcome.status, outcome.reason, None if rows is None else rows.probabilities,
        outcome.has_video, outcome.has_audio, outcome.duration_s,
        classes=None if rows is None else rows.classes,
    )  # fmt: skip


@dataclass(frozen=True)
class WindowSteps:
    """Length of windows, and distance from one to the next, in time steps."""

    length: int
    hop: int


class StreamingPredictor:
    """Classifies one clip chunk by chunk; memory does not grow with its length."""

    def __init__(self, model: LoadedModel, windows: WindowSteps | None = None) -> None:
        """windows: also classify windows of the clip, each as if it were a clip."""
        self._model = model
        self._windows = None if windows is None else _WindowPredictor(model, windows)
        self._stream: EnsembleStream | None = None
        self._has_video = self._has_audio = False

    def push(self, chunk: EncodedChunk) -> None:
        """Feed the next chunk of the clip."""
        self._has_video |= bool(chunk.video_mask.any())  # one chunk with frames is enough
        self._has_audio |= bool(chunk.audio_mask.any())
        if self._stream is None:
            # created late: a clip without any chunk needs none
            self._stream = EnsembleStream(self._model.classifier, self._model.front_end)
        with torch.inference_mode(), one_thread():
            steps = StepChunk(
                torch.from_numpy(self._frame_features(chunk)),
                torch.from_numpy(np.array(_audio_input(chunk))),
                torch.from_numpy(np.array(chunk.video_mask)),
                torch.from_numpy(np.array(chunk.audio_mask)),
            )
            self._stream.push(steps)
            if self._windows is not None:
                self._windows.push(steps)

    def finish(self, path: str, outcome: ClipOutcome) -> Prediction:
        """The row of the clip; a failed one has its status and reason, and no probabilities.

        Raises UserError if the network returns values that are not finite.
        """
        if not outcome.status.usable or self._stream is None:
            return prediction_row(path, outcome, "", None)
        missing = missing_modalities(self._model.classifier, self._has_video, self._has_audio)
        with torch.inference_mode(), one_thread():
            rows = None if missing else _rows(self._model, self._stream.finish())
            task = self._model.card.get_task()
            if rows is not None and task.from_last_step:
                rows = replace(rows, probabilities=rows.probabilities[-task.rows_per_step :])
            windows = () if self._windows is None or missing else self._windows.finish()
        row = prediction_row(path, outcome, missing, rows)
        # the last step may reach past the end of the clip
        end_s = math.inf if outcome.duration_s is None else outcome.duration_s
        return replace(row, windows=tuple(replace(w, end_s=min(w.end_s, end_s)) for w in windows))

    def _frame_features(self, chunk: EncodedChunk) -> npt.NDArray[np.float16]:
        """Frame features [T, D]; unused zeros if there are none (sound alone)."""
        if chunk.features.shape[1]:
            return chunk.features
        return np.zeros((chunk.n_steps, self._model.card.frame_features), np.float16)


class _WindowPredictor:
    """Classifies the windows of a clip from its chunks; holds the steps of one window."""

    def __init__(self, model: LoadedModel, windows: WindowSteps) -> None:
        self._model, self._size = model, windows
        self._held: StepChunk | None = None
        self._start = 0  # of the held steps, in steps from the clip's start
        self._reached = 0  # end of the last window
        self._found: list[WindowPrediction] = []

    def push(self, steps: StepChunk) -> None:
        """Add the next steps of the clip, and classify the windows that are complete."""
        self._held = steps if self._held is None else concat_chunks(self._held, steps)
        while self._held.n_steps >= self._size.length:
            self._classify(self._size.length)
            # the steps before the next window are not needed any more; the hop is no longer
            per_step = self._model.front_end.inputs_per_step
            n_held = self._held.n_steps
            self._held = slice_steps(self._held, self._size.hop, n_held, per_step)
            self._start += self._size.hop

    def finish(self) -> tuple[WindowPrediction, ...]:
        """All windows in order; the last one is shorter if the clip does not end with a window."""
        if self._held is not None and self._start + self._held.n_steps > self._reached:
            self._classify(self._held.n_steps)
        return tuple(self._found)

    def _classify(self, n_steps: int) -> None:
        assert self._held is not None
        per_step = self._model.front_end.inputs_per_step
        window = slice_steps(self._held, 0, n_steps, per_step)
        classifier, step_s = self._model.classifier, self._model.card.clip.step_s
        end = self._start + n_steps
        self._reached = end
        has_video, has_audio = bool(window.video_mask.any()), bool(window.audio_mask.any())
        if missing_modalities(classifier, has_video, has_audio):
            return  # a stretch without what the model uses has no prediction
        stream = EnsembleStream(classifier, self._model.front_end)
        stream.push(window)
        probabilities = _rows(self._model, stream.finish()).probabilities
        self._found.append(WindowPrediction(self._start * step_s, end * step_s, probabilities))


def _audio_input(chunk: EncodedChunk) -> Samples | Float16Array:
    """Input of the audio front end: spectrogram features if computed, else the waveform."""
    return chunk.samples if chunk.spectrogram_features is None else chunk.spectrogram_features


def _rows(model: LoadedModel, states: Sequence[HeadStates]) -> ClipRows:
    """The rows of one clip, from the states of each network."""
    task = model.card.get_task()
    if task.decodes:
        limits = task.settings
        transitions = None
        if "transitions" in task.state:
            transitions = task.array("transitions", (None, None))
        found = model.classifier.decode(states, limits.beam_width, limits.max_events, transitions)
    else:
        found = Decoded(model.classifier.outputs(states))
    if not bool(torch.isfinite(found.logits).all()):
        raise UserError("the model gives numbers that are not finite; its weights are damaged")
    # float64: float32 does not sum to one exactly
    probabilities: Probabilities = found.logits.double().softmax(dim=-1).numpy()
    probabilities = task.postprocess(probabilities)
    if not np.isfinite(probabilities).all():
        raise UserError("the numbers of the model's task_state are damaged; train it again")
    classes = None if found.classes is None else found.classes.numpy()
    return ClipRows(probabilities[0] if task.per_clip else probabilities, classes)
