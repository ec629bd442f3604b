"""Clips to probabilities, one by one: a clip's numbers cannot depend on other clips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_prep.clip import Samples
from data_prep.dataset.clip_store import ClipOutcome
from data_prep.status import Status
from models.ensemble import EnsembleStream
from models.streaming import StepChunk
from pipeline.checkpoints.checkpoint import LoadedModel
from pipeline.checkpoints.model_card import ModelCard, missing_modalities
from pipeline.errors import UserError
from pipeline.features.batch_encoder import Float16Array
from pipeline.features.encoded_clip import EncodedChunk
from pipeline.features.samples import Sample, collate, one_thread
from pipeline.storage.predictions import Prediction, Probabilities
from pipeline.tasks import get_task


def predict(model: LoadedModel, sample: Sample) -> Probabilities:
    """float64 [K], sums to one; [N, K] where the task has a row for each step."""
    with torch.inference_mode(), one_thread():
        return _probabilities(model.card, model.classifier.eval()(collate([sample])))


def prediction_row(
    path: str, outcome: ClipOutcome, nothing: str, probabilities: Probabilities | None
) -> Prediction:
    """The row of one clip: its probabilities, or why there are none."""
    if not outcome.status.usable:
        return Prediction(path, outcome.status, outcome.reason)
    if nothing:
        return Prediction(path, Status.NO_USABLE_STREAM, nothing)
    return Prediction(
        path, outcome.status, outcome.reason, probabilities, outcome.has_video, outcome.has_audio,
        outcome.duration_s,
    )  # fmt: skip


class StreamingPredictor:
    """Judges one clip chunk by chunk; memory does not grow with its length."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._stream: EnsembleStream | None = None
        self._modalities = self._heard = False

    def push(self, chunk: EncodedChunk) -> None:
        """Take the clip's next chunk."""
        self._modalities |= bool(chunk.video_mask.any())
        self._heard |= bool(chunk.audio_mask.any())
        if self._stream is None:
            self._stream = EnsembleStream(self._model.classifier, self._model.front_end)
        with torch.inference_mode(), one_thread():
            self._stream.push(
                StepChunk(
                    torch.from_numpy(self._widened(chunk)),
                    torch.from_numpy(np.array(_sound(chunk))),
                    torch.from_numpy(np.array(chunk.video_mask)),
                    torch.from_numpy(np.array(chunk.audio_mask)),
                )
            )

    def finish(self, path: str, outcome: ClipOutcome) -> Prediction:
        """The clip's row; a failed one carries its reason and nothing else."""
        if not outcome.status.usable or self._stream is None:
            return prediction_row(path, outcome, "", None)
        nothing = missing_modalities(self._model.classifier, self._modalities, self._heard)
        with torch.inference_mode(), one_thread():
            probabilities = (
                None if nothing else _probabilities(self._model.card, self._stream.finish())
            )
        return prediction_row(path, outcome, nothing, probabilities)

    def _widened(self, chunk: EncodedChunk) -> npt.NDArray[np.float16]:
        """A model of sound alone has features [T, 0], widened with zeros that nothing reads."""
        if chunk.features.shape[1]:
            return chunk.features
        return np.zeros((chunk.n_steps, self._model.card.frame_features), np.float16)


def _sound(chunk: EncodedChunk) -> Samples | Float16Array:
    """What the front end takes: features of windows where they were made, else the waveform."""
    return chunk.samples if chunk.spectrogram_features is None else chunk.spectrogram_features


def _probabilities(card: ModelCard, logits: Tensor) -> Probabilities:
    """Of one clip's rows of logits [N, K]."""
    if not bool(torch.isfinite(logits).all()):
        raise UserError("the model gives numbers that are not finite; its weights are damaged")
    probabilities: Probabilities = logits.double().softmax(dim=-1).numpy()
    return probabilities[0] if get_task(card.task).per_clip else probabilities
