"""Streaming inference: the logits of a clip of any length, chunk by chunk in bounded memory.

The logits equal those of the whole clip. A causal temporal model and the pooling keep a state from
chunk to chunk; for a temporal model that is not causal, all fused steps are kept until the end (a
kilobyte per step). Audio vectors depend on neighbouring steps, so each chunk is encoded together
with as many steps of context on either side as the audio encoder's receptive field covers. A chunk
is therefore processed once the next one, its right context, has arrived.

    received      [..... ....a|bbbbb bbbbc|ccc      ]
    processed          b, encoded from a + b + c; only b's vectors go to the temporal model
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, FusedFeatures, HeadStates
from models.heads.base import HeadState
from models.output import ClassifierOutput
from models.temporal.base import TemporalState

_NO_AUDIO = torch.zeros(1, 0, 0)


@dataclass(frozen=True)
class StepChunk:
    """Successive steps of one clip.

    video       float [T, Dv] frame features
    audio       input of the front end: int16, or float in −1…1, [T · samples per step], or
                features of windows [T · windows per step, D]
    video_mask  bool [T], true where the step has a frame
    audio_mask  bool [T], true where the step has sound
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])


class ClassifierStream:
    """Takes a clip's chunks in order; `finish` returns its logits. Use under inference mode."""

    def __init__(self, classifier: AudioVisualClassifier, front_end: AudioFrontEnd) -> None:
        self._classifier, self._front_end = classifier.eval(), front_end
        self.context_steps = context_steps(classifier, front_end)
        self._left_context: StepChunk | None = None
        self._waiting: StepChunk | None = None
        self._state = _StreamState(classifier)

    def push(self, chunk: StepChunk) -> None:
        """Add the next chunk, and process the previous one, whose context is now complete."""
        waiting = self._waiting
        if waiting is None:
            self._waiting = chunk
        elif chunk.n_steps >= self.context_steps:
            self._process(waiting, chunk)
            self._waiting = chunk
        else:  # too short to be the whole right context
            self._waiting = self._process_all_but_context(concat_chunks(waiting, chunk))

    def outputs(self) -> ClassifierOutput:
        """End the clip: the logits of all heads. Raises ValueError if no chunk was pushed."""
        return self._classifier.rows(self.finish())

    def finish(self) -> HeadStates:
        """End the clip: the states of all heads. Raises ValueError if no chunk was pushed."""
        if self._waiting is None:
            raise ValueError("a clip needs at least one chunk")
        self._process(self._waiting, None)
        return self._state.finish()

    def _process_all_but_context(self, waiting: StepChunk) -> StepChunk:
        """Process what has its right context; return the remaining steps."""
        ready = waiting.n_steps - self.context_steps
        if ready < self.context_steps:  # encoding fewer steps than their context would be wasteful
            return waiting
        per_step = self._front_end.inputs_per_step
        remaining = slice_steps(waiting, ready, waiting.n_steps, per_step)
        self._process(slice_steps(waiting, 0, ready, per_step), remaining)
        return remaining

    def _process(self, chunk: StepChunk, following: StepChunk | None) -> None:
        parts = [chunk]
        first = 0
        if self._left_context is not None:
            parts.insert(0, self._left_context)
            first = self._left_context.n_steps
        if following is not None and self.context_steps:
            per_step = self._front_end.inputs_per_step
            parts.append(slice_steps(following, 0, self.context_steps, per_step))
        with_context = parts[0]
        for part in parts[1:]:
            with_context = concat_chunks(with_context, part)
        fused = self._classifier.fuse(self._batch(with_context))
        self._state.add(fused.steps(first, first + chunk.n_steps))  # without the context
        self._left_context = self._tail(with_context, first + chunk.n_steps)

    def _tail(self, chunk: StepChunk, end: int) -> StepChunk | None:
        start = max(0, end - self.context_steps)
        if start == end:
            return None
        return slice_steps(chunk, start, end, self._front_end.inputs_per_step)

    def _batch(self, chunk: StepChunk) -> ClipBatch:
        return ClipBatch(
            chunk.video.float()[None],  # [1, T, Dv]
            self._front_end(chunk.audio[None]) if self._classifier.uses_audio else _NO_AUDIO,
            chunk.video_mask[None],  # [1, T]
            chunk.audio_mask[None],
            torch.tensor([chunk.n_steps]),
        )


class _StreamState:
    """State of the temporal model and of all poolings after the steps so far, batch size 1."""

    def __init__(self, classifier: AudioVisualClassifier) -> None:
        self._classifier = classifier
        self._temporal: TemporalState | None = None
        self._fused: HeadState | None = None
        self._unimodal: dict[str, HeadState] = {}
        self._present: dict[str, list[Tensor]] = {}
        self._kept: list[Tensor] = []

    def add(self, fused: FusedFeatures) -> None:
        """Take the next fused steps."""
        for name, features in fused.branches.items():
            present = fused.present[name]
            self._present.setdefault(name, []).append(present)
            if name in self._classifier.unimodal:
                self._unimodal[name] = self._classifier.unimodal_head(name).update(
                    self._unimodal.get(name), features, torch.ones_like(present), present
                )
        if not self._classifier.temporal.causal:
            self._kept.append(fused.fused)  # a step's output needs later steps: see outputs
            return
        steps, self._temporal = self._classifier.temporal.forward_chunk(fused.fused, self._temporal)
        self._update(steps)

    def finish(self) -> HeadStates:
        """The states of all heads after the whole clip."""
        if self._kept:
            whole = torch.cat(self._kept, dim=1)  # [1, T, D]
            self._update(self._classifier.temporal(whole, torch.tensor([whole.shape[1]])))
        present = {name: torch.cat(masks, dim=1) for name, masks in self._present.items()}
        valid = torch.ones_like(next(iter(present.values())))
        return HeadStates(self._fused, self._unimodal, valid, present)

    def _update(self, steps: Tensor) -> None:
        valid = torch.ones(steps.shape[:2], dtype=torch.bool)  # a stream has no padding
        self._fused = self._classifier.head.update(self._fused, steps, valid, valid)


def context_steps(classifier: AudioVisualClassifier, front_end: AudioFrontEnd) -> int:
    """Steps of context that a step's fused features depend on, on either side."""
    motion_steps = int(classifier.uses_video and classifier.settings.motion)  # the step before
    if not classifier.uses_audio:
        return motion_steps
    reach = classifier.audio_encoder.reach_frames * front_end.hop + front_end.reach_inputs
    return max(motion_steps, -(-reach // front_end.inputs_per_step))  # rounded up


def slice_steps(chunk: StepChunk, start: int, end: int, per_step: int) -> StepChunk:
    """Steps start to end − 1; per_step: inputs of the audio front end per step."""
    return StepChunk(
        chunk.video[start:end],
        chunk.audio[start * per_step : end * per_step],
        chunk.video_mask[start:end],
        chunk.audio_mask[start:end],
    )


def concat_chunks(first: StepChunk, second: StepChunk) -> StepChunk:
    """Both, one after the other."""
    return StepChunk(
        torch.cat([first.video, second.video]),
        torch.cat([first.audio, second.audio]),
        torch.cat([first.video_mask, second.video_mask]),
        torch.cat([first.audio_mask, second.audio_mask]),
    )
