"""Ensemble of networks: mean log-probabilities, calibrated by temperature scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, HeadStates
from models.decoding import FloatArray, beam_search, collapsed, list_log_probability, viterbi
from models.heads.decoder import EventDecoder
from models.output import ClassifierOutput, mean_log_probabilities, modality_subsets
from models.streaming import ClassifierStream, StepChunk

_DECODER_WEIGHT = 0.3  # beside steps whose classes were learned from known times


class Ensemble(nn.Module):
    """Average of independently trained networks of one architecture.

    The members' log-probabilities are averaged, then divided by a temperature (Guo et al., 2017)
    that depends on the clip's modality subset. It changes the confidence, not the predicted label.
    """

    def __init__(
        self,
        members: Sequence[AudioVisualClassifier],
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        """temperatures: one per modality subset (see `models.output`); None: 1 for each.

        Raises ValueError without a member, for other subsets, or if a temperature is not positive.
        """
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        expected = modality_subsets(members[0].unimodal)
        if temperatures is None:
            temperatures = dict.fromkeys(expected, 1.0)
        if set(temperatures) != set(expected):
            raise ValueError(
                f"temperatures must be given for {', '.join(expected)}, "
                f"not for {', '.join(temperatures)}"
            )
        for temperature in temperatures.values():
            if not temperature > 0:  # written so that NaN is refused too
                raise ValueError(f"the temperature must be above 0, not {temperature:g}")
        self.members = nn.ModuleList(members)
        self.temperatures = dict(temperatures)

    def __iter__(self) -> Iterator[AudioVisualClassifier]:
        for member in self.members:
            assert isinstance(member, AudioVisualClassifier)  # ModuleList yields plain Modules
            yield member

    @property
    def first(self) -> AudioVisualClassifier:
        """The first member, for what depends only on the shared architecture."""
        return next(iter(self))

    @property
    def uses_video(self) -> bool:
        return self.first.uses_video

    @property
    def uses_audio(self) -> bool:
        return self.first.uses_audio

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits [N, K], before softmax."""
        return self.combine([member.outputs(batch) for member in self])

    def outputs(self, states: Sequence[HeadStates], given: Tensor | None = None) -> Tensor:
        """Logits [N, K] from each member's states; given: of decoders, classes int64 [B, L]."""
        pairs = zip(self, states, strict=True)
        return self.combine([member.rows(state, given) for member, state in pairs])

    def decode(
        self,
        states: Sequence[HeadStates],
        width: int,
        max_length: int,
        transitions: FloatArray | None = None,
    ) -> Decoded:
        """The list that decoders write together for one clip, and its rows of logits.

        Of the lists of a beam search, and the one that the steps' most probable classes stand for,
        that with the highest sum of the log-probabilities of decoder and steps (Kim, Hori and
        Watanabe, 2017), the former weighted less if transitions are known. transitions: between the
        steps' classes [K, K].
        """

        def next_logits(lists: Tensor) -> Tensor:
            repeated = [_repeated(state, lists.shape[0]) for state in states]
            rows = self.outputs(repeated, lists)  # [n · (L + 1), K]
            return rows.reshape(lists.shape[0], lists.shape[1] + 1, -1)[:, -1]

        end_class = self.first.dimensions.n_classes - 1
        found = beam_search(next_logits, end_class, width, max_length)
        pairs = zip(self, states, strict=True)
        steps = mean_log_probabilities([decoder_of(m).step_logits(s.fused)[0] for m, s in pairs])
        path = steps.argmax(dim=-1)
        if transitions is not None:
            path = torch.from_numpy(viterbi(steps.double().softmax(dim=-1).numpy(), transitions))
        by_steps = collapsed(path, end_class)[:max_length]
        found.append(torch.cat([by_steps, torch.tensor([end_class])]))
        weight = 1.0 if transitions is None else _DECODER_WEIGHT
        scored: list[tuple[float, Decoded]] = []
        for classes in found:
            logits = self.outputs(states, classes[None, :-1])
            by_decoder = logits.double().log_softmax(dim=-1)[range(len(classes)), classes].sum()
            of_steps = list_log_probability(steps, classes[:-1], end_class, transitions)
            scored.append((float(weight * by_decoder + of_steps), Decoded(logits, classes)))
        return max(scored, key=lambda each: each[0])[1]

    def combine(self, outputs: Sequence[ClassifierOutput]) -> Tensor:
        """The members' outputs for one batch → logits [N, K]."""
        logits = [
            output.combined(member.fusion_weights)  # [N, K]
            for member, output in zip(self, outputs, strict=True)
        ]
        # all members have the same clips, so the subsets of the first are those of all
        return mean_log_probabilities(logits) / outputs[0].by_subset(self.temperatures)


@dataclass(frozen=True)
class Decoded:
    """Rows of logits [N, K] of a clip; classes: int64 [N], as a decoder wrote them, else None."""

    logits: Tensor
    classes: Tensor | None = None


def decoder_of(member: AudioVisualClassifier) -> EventDecoder:
    """The fused head of a network that writes lists."""
    assert isinstance(member.head, EventDecoder)
    return member.head


class EnsembleStream:
    """Streaming inference with every member: push a clip's chunks in order, then `finish`."""

    def __init__(self, ensemble: Ensemble, front_end: AudioFrontEnd) -> None:
        self._ensemble = ensemble
        self._streams = [ClassifierStream(member, front_end) for member in ensemble]

    def push(self, chunk: StepChunk) -> None:
        """Add the clip's next chunk."""
        for stream in self._streams:
            stream.push(chunk)

    def finish(self) -> list[HeadStates]:
        """Each member's states after the clip. Raises ValueError if no chunk was pushed."""
        return [stream.finish() for stream in self._streams]


def _repeated(states: HeadStates, n: int) -> HeadStates:
    """The states of one clip's decoders n times."""
    return HeadStates(
        states.fused.repeated(n),
        {name: state.repeated(n) for name, state in states.unimodal.items()},
        states.valid.expand(n, -1),
        {name: mask.expand(n, -1) for name, mask in states.present.items()},
    )
