"""Several networks as one: the mean of what they say, as sure as they are right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch
from models.output import ClassifierOutput, mean_log_probabilities, modality_subsets
from models.streaming import ClassifierStream, StepChunk


class Ensemble(nn.Module):
    """Members of one architecture, trained apart, answer together.

    Their log-probabilities are averaged, then divided by the temperature (Guo et al., 2017) of what
    the clip has, which changes how sure the answer is, not which label it names.
    """

    def __init__(
        self,
        members: Sequence[AudioVisualClassifier],
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        """temperatures: one for each situation (see `models.output`); None: 1.

        Raises ValueError for no member, other situations, or a temperature that is not positive.
        """
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        expected = modality_subsets(members[0].unimodal)
        if temperatures is None:
            temperatures = dict.fromkeys(expected, 1.0)
        if set(temperatures) != set(expected):
            raise ValueError(
                f"temperatures are needed of {', '.join(expected)}, "
                f"not of {', '.join(temperatures)}"
            )
        for temperature in temperatures.values():
            if not temperature > 0:
                raise ValueError(f"the temperature must be above 0, not {temperature:g}")
        self.members = nn.ModuleList(members)
        self.temperatures = dict(temperatures)

    def __iter__(self) -> Iterator[AudioVisualClassifier]:
        for member in self.members:
            assert isinstance(member, AudioVisualClassifier)
            yield member

    @property
    def first(self) -> AudioVisualClassifier:
        return next(iter(self))

    @property
    def uses_video(self) -> bool:
        return self.first.uses_video

    @property
    def uses_audio(self) -> bool:
        return self.first.uses_audio

    def forward(self, batch: ClipBatch) -> Tensor:
        """Logits [B, K]; softmax is the caller's."""
        return self.combine([member.outputs(batch) for member in self])

    def combine(self, answers: Sequence[ClassifierOutput]) -> Tensor:
        """The members' answers → logits [B, K]."""
        each = [one.combined(net.fusion_weights) for net, one in zip(self, answers, strict=True)]
        return mean_log_probabilities(each) / answers[0].by_subset(self.temperatures)


class EnsembleStream:
    """Takes a clip's chunks in order, as each member does; `finish` gives the logits [N, K]."""

    def __init__(self, ensemble: Ensemble, front_end: AudioFrontEnd) -> None:
        self._ensemble = ensemble
        self._streams = [ClassifierStream(member, front_end) for member in ensemble]

    def push(self, chunk: StepChunk) -> None:
        """Take the clip's next chunk."""
        for stream in self._streams:
            stream.push(chunk)

    def finish(self) -> Tensor:
        """Logits [N, K], as the head gives them. Raises ValueError where no chunk was given."""
        return self._ensemble.combine([stream.outputs() for stream in self._streams])
