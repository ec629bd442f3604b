"""Head that writes a list of events: a GRU decoder with monotonic attention over the steps.

Vector-to-sequence: the clip's vector, the mean of its steps, is the decoder's first state. From
there it writes one class after the other until the end mark. Its attention moves forward only, as
events do (after Raffel et al., 2017: monotonic alignments): with state h, step t is chosen with
probability p_t, of the steps after the last attended one the first that is.

    p_t = σ(v · tanh(W h + k * f)_t + b) · Σ_{s<t} α'_s       α': the weights before; 1 at the start
    α_t = p_t · Π_{s<t} (1 − p_s),   ε = 1 − Σ_t α_t          ε: none of the steps is chosen
    c   = Σ_t α_t f_t + ε e                                   context; e is learned
    h   ← GRU([E(previous class), c], h)
    logits = L [h, c]

A step's features f_t contain its class probabilities, which are trained by cross-entropy where the
classes of the steps are known. Where a list says what happens, but not when, they are trained by
connectionist temporal classification (CTC: Graves et al., 2006; Kim, Hori and Watanabe, 2017: joint
CTC and attention). The end mark is the blank of CTC, and the class of steps without any event.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.heads.base import Head
from models.settings import ModelSettings
from models.shapes import check_shape

_EMBEDDED, _ATTENTION, _TAPS = 32, 64, 3


@dataclass(frozen=True)
class DecoderInput:
    """Steps of the clips so far: features [B, T, D], valid and present bool [B, T]."""

    features: Tensor
    valid: Tensor
    present: Tensor

    def repeated(self, n: int) -> DecoderInput:
        """One clip n times."""
        return DecoderInput(
            self.features.expand(n, -1, -1), self.valid.expand(n, -1), self.present.expand(n, -1)
        )


class EventDecoder(Head):
    """Rows of logits after each given class: of a clip with L given classes L + 1 rows.

    The last of the K classes is the end mark. `logits` is after no class, one row per clip.
    """

    def __init__(self, n_features: int, n_units: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.teacher_share = 1.0
        """Share of the given classes that are used in training; the others are its own."""
        self.dropout = nn.Dropout(dropout)
        self.of_step = nn.Linear(n_features, n_classes)
        n_features += n_classes
        self.start = nn.Linear(n_features, n_units)
        self.embedding = nn.Embedding(n_classes + 1, _EMBEDDED)  # the last one begins a list
        self.cell = nn.GRUCell(_EMBEDDED + n_features, n_units)
        self.query = nn.Linear(n_units, _ATTENTION)
        # sees the steps beside a step, since events begin where steps change
        self.key = nn.Conv1d(n_features, _ATTENTION, _TAPS, padding=_TAPS // 2, bias=False)
        self.energy = nn.Linear(_ATTENTION, 1)
        nn.init.constant_(self.energy.bias, -2.0)  # else only the first steps would be seen
        self.no_step = nn.Parameter(torch.zeros(n_features))
        self.out = nn.Linear(n_units + n_features, n_classes)

    def update(
        self, state: DecoderInput | None, features: Tensor, valid: Tensor, present: Tensor
    ) -> DecoderInput:
        if state is None:
            return DecoderInput(features, valid, present)
        return DecoderInput(
            torch.cat([state.features, features], dim=1),
            torch.cat([state.valid, valid], dim=1),
            torch.cat([state.present, present], dim=1),
        )

    def logits(self, state: DecoderInput) -> Tensor:
        none = torch.zeros(state.features.shape[0], 0, dtype=torch.long)
        return self.logits_after(state, none.to(state.features.device))

    def logits_after(self, state: DecoderInput, given: Tensor) -> Tensor:
        """given: class indices int64 [B, L], padded with −1 → [N, K], clip after clip."""
        check_shape("given", given, (state.features.shape[0], "L"))
        dropped = self.dropout(state.features)
        features = torch.cat([dropped, self.of_step(dropped).softmax(dim=-1)], dim=-1)
        # a clip without the modality attends to all steps; its rows are not used
        has_any = state.present.any(dim=1, keepdim=True)
        mask = torch.where(has_any, state.present, state.valid)  # [B, T]
        counts = mask.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (features * mask[:, :, None]).sum(dim=1) / counts  # [B, D], the clip's vector
        hidden = self.start(mean).tanh()
        keys = self.key((features * mask[:, :, None]).transpose(1, 2)).transpose(1, 2)  # [B, T, A]
        before = mask.to(features.dtype)  # [B, T], the share of the attention before each step
        previous = given.new_full((given.shape[0],), self.n_classes)
        rows = []
        for place in range(given.shape[1] + 1):
            weights = self._attention(hidden, keys, before)  # [B, T]
            before = mask * (weights.cumsum(dim=1) - weights)
            none = 1 - weights.sum(dim=1, keepdim=True)  # [B, 1]
            context = (weights[:, :, None] * features).sum(dim=1) + none * self.no_step  # [B, D]
            hidden = self.cell(torch.cat([self.embedding(previous), context], dim=1), hidden)
            rows.append(self.out(self.dropout(torch.cat([hidden, context], dim=1))))  # [B, K]
            if place < given.shape[1]:
                previous = self._next_input(given[:, place].clamp(min=0), rows[-1])
        stacked = torch.stack(rows, dim=1)  # [B, L + 1, K]
        return stacked[_written(given)]

    def _attention(self, hidden: Tensor, keys: Tensor, before: Tensor) -> Tensor:
        """Weights of the steps [B, T]."""
        energy = self.energy((self.query(hidden)[:, None] + keys).tanh())[:, :, 0]  # [B, T]
        chosen = energy.sigmoid() * before
        # none of the earlier steps is chosen; below 1, so that the logarithm is finite
        passed = torch.log1p(-chosen.clamp(max=1 - 1e-6)).cumsum(dim=1)
        passed = nn.functional.pad(passed, (1, 0))[:, :-1].exp()
        weights: Tensor = chosen * passed
        return weights

    def _next_input(self, given: Tensor, row: Tensor) -> Tensor:
        """The class that is fed back, int64 [B]: the given one, in training sometimes its own."""
        if not self.training or self.teacher_share >= 1:
            return given
        is_given = torch.rand(given.shape[0], device=given.device) < self.teacher_share
        return torch.where(is_given, given, row.detach().argmax(dim=1))

    def step_logits(self, state: DecoderInput) -> Tensor:
        """Logits of each step's class [B, T, K]; the end mark is the blank."""
        logits: Tensor = self.of_step(self.dropout(state.features))
        return logits

    def alignment_loss(self, state: DecoderInput, given: Tensor, classes: Tensor) -> Tensor:
        """Loss per clip [B] of the steps' classes, int64 [B, T], −1 where not known.

        Cross-entropy of the known steps; of clips with unknown steps, the CTC loss of the list in
        `given` [B, L] too, which is 0 if there are too few steps for it.
        """
        log_p = self.step_logits(state).log_softmax(dim=-1)  # [B, T, K]
        known = classes >= 0
        of_classes = -log_p.gather(2, classes.clamp(min=0)[:, :, None])[:, :, 0]  # [B, T]
        mean = (of_classes * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        whole = (known | ~state.valid).all(dim=1)
        if bool(whole.all()):
            return mean
        lengths, written = state.valid.sum(dim=1), (given >= 0).sum(dim=1)
        losses: Tensor = nn.functional.ctc_loss(
            log_p.transpose(0, 1), given.clamp(min=0), lengths, written,
            blank=self.n_classes - 1, reduction="none", zero_infinity=True,
        )  # fmt: skip
        of_list = losses / written.clamp(min=1)
        return mean + torch.where(whole, 0.0, of_list)

    def rows_present(self, valid: Tensor, present: Tensor) -> Tensor:
        return present.any(dim=1)

    def rows_present_after(self, valid: Tensor, present: Tensor, given: Tensor) -> Tensor:
        return self.rows_present(valid, present).repeat_interleave(_written(given).sum(dim=1))


def _written(given: Tensor) -> Tensor:
    """bool [B, L + 1]: the rows of each clip, one after each given class and one before them."""
    first = given.new_ones(given.shape[0], 1, dtype=torch.bool)
    return torch.cat([first, given >= 0], dim=1)


def build_event_decoder(
    settings: ModelSettings, n_features: int, n_classes: int, *, fused: bool
) -> EventDecoder:
    """Build a head; fused and unimodal heads are alike."""
    return EventDecoder(n_features, settings.head_units, n_classes, settings.dropout)
