"""Clips to probabilities, one at a time: the result must not depend on other clips of a batch."""

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


def predict(model: LoadedModel, sample: Sample) -> Probabilities:
    """Class probabilities of one clip, float64 [K]; [N, K] if the task has a row for each step.

    Raises UserError if the network returns values that are not finite.
    """
    with torch.inference_mode(), one_thread():
        # one thread: results must not depend on the number of cores
        return _probabilities(model.card, model.classifier.eval()(collate([sample])))


def prediction_row(
    path: str, outcome: ClipOutcome, missing: str, probabilities: Probabilities | None
) -> Prediction:
    """The row of one clip: its probabilities, or the reason why there are none.

    missing: why the clip has no stream that the model uses, or "".
    """
    if not outcome.status.usable:
        return Prediction(path, outcome.status, outcome.reason)
    if missing:  # readable, but without a stream that the model uses
        return Prediction(path, Status.NO_USABLE_STREAM, missing)
    return Prediction(
        path, outcome.status, outcome.reason, probabilities, outcome.has_video, outcome.has_audio,
        outcome.duration_s,
    )  # fmt: skip


class StreamingPredictor:
    """Classifies one clip chunk by chunk; memory does not grow with its length."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
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
            self._stream.push(
                StepChunk(
                    torch.from_numpy(self._frame_features(chunk)),
                    torch.from_numpy(np.array(_audio_input(chunk))),
                    torch.from_numpy(np.array(chunk.video_mask)),
                    torch.from_numpy(np.array(chunk.audio_mask)),
                )
            )

    def finish(self, path: str, outcome: ClipOutcome) -> Prediction:
        """The row of the clip; a failed one has its status and reason, and no probabilities.

        Raises UserError if the network returns values that are not finite.
        """
        if not outcome.status.usable or self._stream is None:
            return prediction_row(path, outcome, "", None)
        missing = missing_modalities(self._model.classifier, self._has_video, self._has_audio)
        with torch.inference_mode(), one_thread():
            probabilities = (
                None if missing else _probabilities(self._model.card, self._stream.finish())
            )
        return prediction_row(path, outcome, missing, probabilities)

    def _frame_features(self, chunk: EncodedChunk) -> npt.NDArray[np.float16]:
        """Frame features [T, D]; unused zeros if there are none (sound alone)."""
        if chunk.features.shape[1]:
            return chunk.features
        return np.zeros((chunk.n_steps, self._model.card.frame_features), np.float16)


def _audio_input(chunk: EncodedChunk) -> Samples | Float16Array:
    """Input of the audio front end: spectrogram features if computed, else the waveform."""
    return chunk.samples if chunk.spectrogram_features is None else chunk.spectrogram_features


def _probabilities(card: ModelCard, logits: Tensor) -> Probabilities:
    """Of one clip's rows of logits [N, K]."""
    if not bool(torch.isfinite(logits).all()):
        raise UserError("the model gives numbers that are not finite; its weights are damaged")
    # float64: float32 does not sum to one exactly
    probabilities: Probabilities = logits.double().softmax(dim=-1).numpy()
    return probabilities[0] if card.get_task().per_clip else probabilities
