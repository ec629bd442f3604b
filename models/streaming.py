"""One clip of any length, judged chunk by chunk: the same logits as for the whole, little memory.

A causal head carries its state, a read-out what it has gathered; a head that looks ahead is given
all fused steps at the end, which are kept until then (a kilobyte a step). The audio encoder's
vectors depend on their neighbours' sound, so each chunk is encoded together with as many steps of
context on either side as its kernels reach: there is no seam. A chunk is therefore worked off when
the next one, its context, has come.

    come so far   [..... ....a|bbbbb bbbbc|ccc      ]
    worked off         b, encoded from a + b + c; only b's vectors go into the head
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, FusedFeatures
from models.heads.base import HeadState
from models.output import ClassifierOutput
from models.temporal.base import TemporalState

_NO_AUDIO = torch.zeros(1, 0, 0)


@dataclass(frozen=True)
class StepChunk:
    """Successive steps of one clip.

    picture      float [T, Dv] frame features
    sound        what the front end takes: int16, or float in −1…1, [T · samples per step], or
                 features of windows [T · windows per step, D]
    video_mask  bool [T]
    audio_mask    bool [T]
    """

    video: Tensor
    audio: Tensor
    video_mask: Tensor
    audio_mask: Tensor

    @property
    def n_steps(self) -> int:
        return int(self.video_mask.shape[0])


class ClassifierStream:
    """Takes a clip's chunks in order; `finish` gives its logits. Use under inference mode."""

    def __init__(self, classifier: AudioVisualClassifier, front_end: AudioFrontEnd) -> None:
        self._classifier, self._front_end = classifier.eval(), front_end
        self.context_steps = context_steps(classifier, front_end)
        self._before: StepChunk | None = None
        self._waiting: StepChunk | None = None
        self._gathered = _StreamState(classifier)

    def push(self, chunk: StepChunk) -> None:
        """Take the next chunk; the one before it is worked off now that its context is there."""
        waiting = self._waiting
        if waiting is None:
            self._waiting = chunk
        elif chunk.n_steps >= self.context_steps:
            self._process(waiting, chunk)
            self._waiting = chunk
        else:  # too short to be all the context there is
            self._waiting = self._all_but_context(_joined(waiting, chunk))

    def finish(self) -> Tensor:
        """Logits [K]. Raises ValueError where no chunk was given."""
        return self.outputs().combined(self._classifier.fusion_weights)[0]

    def outputs(self) -> ClassifierOutput:
        """All answers about the clip, which ends here; see `finish`."""
        if self._waiting is None:
            raise ValueError("a clip needs at least one chunk")
        self._process(self._waiting, None)
        return self._gathered.outputs()

    def _all_but_context(self, waiting: StepChunk) -> StepChunk:
        ready = waiting.n_steps - self.context_steps
        if ready < self.context_steps:
            return waiting
        per_step = self._front_end.inputs_per_step
        rest = _steps(waiting, ready, waiting.n_steps, per_step)
        self._process(_steps(waiting, 0, ready, per_step), rest)
        return rest

    def _process(self, chunk: StepChunk, after: StepChunk | None) -> None:
        parts = [chunk]
        first = 0
        if self._before is not None:
            parts.insert(0, self._before)
            first = self._before.n_steps
        if after is not None and self.context_steps:
            parts.append(_steps(after, 0, self.context_steps, self._front_end.inputs_per_step))
        with_context = parts[0]
        for part in parts[1:]:
            with_context = _joined(with_context, part)
        fused = self._classifier.fuse(self._batch(with_context))
        self._gathered.add(fused.steps(first, first + chunk.n_steps))
        self._before = self._tail(with_context, first + chunk.n_steps)

    def _tail(self, chunk: StepChunk, end: int) -> StepChunk | None:
        start = max(0, end - self.context_steps)
        if start == end:
            return None
        return _steps(chunk, start, end, self._front_end.inputs_per_step)

    def _batch(self, chunk: StepChunk) -> ClipBatch:
        return ClipBatch(
            chunk.video.float()[None],
            self._front_end(chunk.audio[None]) if self._classifier.uses_audio else _NO_AUDIO,
            chunk.video_mask[None],
            chunk.audio_mask[None],
            torch.tensor([chunk.n_steps]),
        )


class _StreamState:
    """What is known of a clip from its steps so far, batch size 1."""

    def __init__(self, classifier: AudioVisualClassifier) -> None:
        self._net = classifier
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
            if name in self._net.unimodal:
                self._unimodal[name] = self._net.unimodal_head(name).update(
                    self._unimodal.get(name), features, torch.ones_like(present), present
                )
        if not self._net.temporal.causal:
            self._kept.append(fused.fused)
            return
        steps, self._temporal = self._net.temporal.forward_chunk(fused.fused, self._temporal)
        self._update(steps)

    def outputs(self) -> ClassifierOutput:
        """The outputs for the whole clip."""
        if self._kept:
            whole = torch.cat(self._kept, dim=1)  # [1, T, D]
            self._update(self._net.temporal(whole, torch.tensor([whole.shape[1]])))
        present = {name: torch.cat(masks, dim=1) for name, masks in self._present.items()}
        return ClassifierOutput(
            self._net.head.logits(self._fused),
            {
                name: self._net.unimodal_head(name).logits(self._unimodal[name])
                for name in self._net.unimodal
            },
            {
                name: self._net.head.rows_present(torch.ones_like(mask), mask)
                for name, mask in present.items()
            },
        )

    def _update(self, steps: Tensor) -> None:
        valid = torch.ones(steps.shape[:2], dtype=torch.bool)
        self._fused = self._net.head.update(self._fused, steps, valid, valid)


def context_steps(classifier: AudioVisualClassifier, front_end: AudioFrontEnd) -> int:
    """Steps on either side that what a step is fused from depends on."""
    before = int(classifier.uses_video and classifier.settings.motion)
    if not classifier.uses_audio:
        return before
    reach = classifier.audio_encoder.reach_frames * front_end.hop + front_end.reach_inputs
    return max(before, -(-reach // front_end.inputs_per_step))


def _steps(chunk: StepChunk, start: int, end: int, per_step: int) -> StepChunk:
    return StepChunk(
        chunk.video[start:end],
        chunk.audio[start * per_step : end * per_step],
        chunk.video_mask[start:end],
        chunk.audio_mask[start:end],
    )


def _joined(first: StepChunk, second: StepChunk) -> StepChunk:
    return StepChunk(
        torch.cat([first.video, second.video]),
        torch.cat([first.audio, second.audio]),
        torch.cat([first.video_mask, second.video_mask]),
        torch.cat([first.audio_mask, second.audio_mask]),
    )
