"""Ensemble of networks: mean log-probabilities, calibrated by temperature scaling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch
from models.output import ClassifierOutput, mean_log_probabilities, modality_subsets
from models.streaming import ClassifierStream, StepChunk


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

    def combine(self, outputs: Sequence[ClassifierOutput]) -> Tensor:
        """The members' outputs for one batch → logits [N, K]."""
        logits = [
            output.combined(member.fusion_weights)  # [N, K]
            for member, output in zip(self, outputs, strict=True)
        ]
        # all members have the same clips, so the subsets of the first are those of all
        return mean_log_probabilities(logits) / outputs[0].by_subset(self.temperatures)


class EnsembleStream:
    """Streaming inference with every member: push a clip's chunks in order, then `finish`."""

    def __init__(self, ensemble: Ensemble, front_end: AudioFrontEnd) -> None:
        self._ensemble = ensemble
        self._streams = [ClassifierStream(member, front_end) for member in ensemble]

    def push(self, chunk: StepChunk) -> None:
        """Add the clip's next chunk."""
        for stream in self._streams:
            stream.push(chunk)

    def finish(self) -> Tensor:
        """Logits [N, K], as the head gives them. Raises ValueError if no chunk was pushed."""
        return self._ensemble.combine([stream.outputs() for stream in self._streams])
