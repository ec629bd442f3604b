"""The decoder of event lists: rows after given classes, attention, beam search, streams."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.decoding import list_log_probability
from models.ensemble import Ensemble, EnsembleStream
from models.heads.decoder import DecoderInput, EventDecoder, build_event_decoder
from models.settings import ModelSettings
from models.streaming import StepChunk, slice_steps

K, END = 4, 3
PER_STEP = 2


def decoder() -> EventDecoder:
    torch.manual_seed(1)
    return EventDecoder(5, 8, K, 0.0).eval()


def steps(*lengths: int, seed: int = 0) -> DecoderInput:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    features = torch.randn(len(lengths), max(lengths), 5, generator=generator)
    return DecoderInput(features, valid, valid)


LISTS = st.lists(st.lists(st.integers(0, END - 1), max_size=5), min_size=1, max_size=4)


def padded(lists: list[list[int]]) -> torch.Tensor:
    rows = [torch.tensor(one, dtype=torch.long) for one in lists]
    return torch.nn.utils.rnn.pad_sequence(rows, True, -1)


@settings(max_examples=25, deadline=None)
@given(LISTS, st.integers(0, 9))
def test_rows_depend_neither_on_other_clips_nor_on_padding(lists, seed: int) -> None:
    head, lengths = decoder(), [3 + 2 * k for k in range(len(lists))]
    together = steps(*lengths, seed=seed)
    with torch.inference_mode():
        rows = head.logits_after(together, padded(lists))
        assert rows.shape == (sum(len(one) + 1 for one in lists), K)
        first = 0
        for k, one in enumerate(lists):
            n = lengths[k]
            alone = DecoderInput(together.features[k : k + 1, :n], together.valid[k : k + 1, :n],
                                 together.present[k : k + 1, :n])  # fmt: skip
            expected = head.logits_after(alone, padded([one]))
            assert torch.allclose(rows[first : first + len(one) + 1], expected, atol=1e-5)
            first += len(one) + 1
        # a row depends on the classes before it only
        longer = head.logits_after(together, padded([[*one, 0, 1] for one in lists]))
        assert torch.allclose(longer[0], rows[0], atol=1e-6)
        assert torch.allclose(head.logits(together)[0], rows[0], atol=1e-6)


def test_attention_moves_forward_and_its_weights_are_shares() -> None:
    head = decoder()
    keys, before = torch.randn(2, 9, 64) * 3, torch.ones(2, 9)
    weights = head._attention(torch.randn(2, 8), keys, before)
    assert (weights >= 0).all()
    assert (weights.sum(dim=1) <= 1 + 1e-6).all()
    only_fourth = torch.zeros(2, 9)
    only_fourth[:, 3] = 1.0
    after = only_fourth.cumsum(dim=1) - only_fourth
    following = head._attention(torch.randn(2, 8), keys, after)
    assert (following[:, :4] == 0).all()
    assert (following[:, 4:] > 0).any()


def test_a_modality_that_a_clip_lacks_gives_finite_rows_that_do_not_count() -> None:
    head, some = decoder(), steps(4, 6)
    nothing = DecoderInput(some.features, some.valid, torch.zeros_like(some.valid))
    given = padded([[0, 1], [2]])
    assert torch.isfinite(head.logits_after(nothing, given)).all()
    assert not head.rows_present_after(nothing.valid, nothing.present, given).any()
    mixed = some.present.clone()
    mixed[1] = False
    assert head.rows_present_after(some.valid, mixed, given).tolist() == [True] * 3 + [False] * 2


def test_the_alignment_loss_is_that_of_each_clip_alone() -> None:
    head, some, lists = decoder(), steps(5, 8), [[0, 1], [2, 2, 0]]
    unknown = torch.full((2, 8), -1)
    losses = head.alignment_loss(some, padded(lists), unknown)
    for k, n in enumerate((5, 8)):
        log_p = head.of_step(some.features[k, :n]).log_softmax(dim=-1)
        total = torch.tensor(0.0)
        for path in product(range(K), repeat=n):  # every path that collapses to the list
            collapsed = [c for t, c in enumerate(path) if (t == 0 or path[t - 1] != c) and c != END]
            if n <= 5 and collapsed == lists[k]:
                total = total + log_p[range(n), list(path)].sum().exp()
            elif n > 5:
                break
        if n <= 5:
            expected = float(-total.detach().log() / len(lists[k]))
            assert losses[k].item() == pytest.approx(expected, rel=1e-4)
    short = head.alignment_loss(
        steps(2), padded([[0, 1, 2]]), torch.full((1, 2), -1)
    )  # three events in two steps
    assert short.item() == 0


def test_known_steps_are_trained_by_their_classes_instead() -> None:
    head, some, lists = decoder(), steps(5, 8, 4), padded([[0, 1], [2, 2, 0], [1]])
    classes = torch.full((3, 8), -1)
    classes[0, :5] = torch.tensor([0, 0, 2, END, 1])
    classes[2, 1] = 1
    losses = head.alignment_loss(some, lists, classes)
    log_p = head.of_step(some.features).log_softmax(dim=-1)
    expected = -log_p[0, range(5), classes[0, :5]].mean()
    assert losses[0].item() == pytest.approx(expected.item(), rel=1e-5)
    only_list = head.alignment_loss(some, lists, torch.full((3, 8), -1))
    # the list says more about a clip whose steps are not all known
    both = -log_p[2, 1, 1] + only_list[2]
    assert losses[2].item() == pytest.approx(both.item(), rel=1e-5)
    assert losses[1].item() == pytest.approx(only_list[1].item(), rel=1e-5)


def test_truth_and_own_classes_are_fed_back_by_their_share() -> None:
    head = decoder().train()
    row, given = torch.eye(K)[[2, 2, 2]], torch.tensor([0, 0, 1])
    head.teacher_share = 1.0
    assert head._next_input(given, row).tolist() == [0, 0, 1]
    head.teacher_share = 0.0
    assert head._next_input(given, row).tolist() == [2, 2, 2]
    assert head.eval()._next_input(given, row).tolist() == [0, 0, 1]


def networks(n: int):
    model = ModelSettings(
        modalities="both", audio_front_end="pretrained", sound_hop_s=0.5, head_units=8,
        audio_channels=8, audio_features=6, picture_features=7,
    )  # fmt: skip
    front_end = AudioFrontEnd(model, 8000, 8000, 4)
    sizes = Dimensions(5, front_end.n_bands, front_end.frames_per_step, 8000, K)
    members = []
    for seed in range(n):
        torch.manual_seed(seed)
        members.append(AudioVisualClassifier(model, sizes, build_event_decoder).eval())
    return Ensemble(members), front_end


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_the_list_is_the_best_by_decoder_and_steps_together(seed: int, known: bool) -> None:
    """Where the transitions of steps are known, the decoder counts for less."""
    ensemble, front_end = networks(1)
    rng = torch.Generator().manual_seed(seed)
    batch = ClipBatch(
        torch.randn(1, 5, 5, generator=rng),
        front_end(torch.randn(1, 5 * PER_STEP, 4, generator=rng)),
        torch.ones(1, 5, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool), torch.tensor([5]),
    )  # fmt: skip
    transitions = np.random.default_rng(seed).dirichlet(np.ones(K), K) if known else None
    lists = [list(one) for n in range(3) for one in product(range(END), repeat=n)]
    scores = {}
    with torch.inference_mode():
        states = [ensemble.first.head_states(batch)]
        steps_ = ensemble.first.head.step_logits(states[0].fused)[0]
        for classes in lists:
            rows = ensemble.outputs(states, padded([classes])).double().log_softmax(dim=-1)
            by_decoder = float(rows[range(len(rows)), [*classes, END]].sum())
            of_list = torch.tensor(classes, dtype=torch.long)
            of_steps = float(list_log_probability(steps_, of_list, END, transitions))
            scores[tuple(classes)] = (0.3 if known else 1.0) * by_decoder + of_steps
        # as wide as there are lists: the search leaves none out
        found = ensemble.decode(states, len(lists), 2, transitions)
    assert scores[tuple(found.classes[:-1].tolist())] == pytest.approx(max(scores.values()))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 99))
def test_a_stream_writes_the_list_of_the_whole_clip(sizes: list[int], seed: int) -> None:
    ensemble, front_end = networks(2)
    rng, n = torch.Generator().manual_seed(seed), sum(sizes)
    whole = StepChunk(
        torch.randn(n, 5, generator=rng), torch.randn(n * PER_STEP, 4, generator=rng),
        torch.rand(n, generator=rng) > 0.2, torch.rand(n, generator=rng) > 0.2,
    )  # fmt: skip
    batch = ClipBatch(whole.video[None], front_end(whole.audio[None]), whole.video_mask[None],
                      whole.audio_mask[None], torch.tensor([n]))  # fmt: skip
    stream, at = EnsembleStream(ensemble, front_end), 0
    with torch.inference_mode():
        expected = ensemble.decode([net.head_states(batch) for net in ensemble], 3, 6)
        for size in sizes:
            stream.push(slice_steps(whole, at, at + size, front_end.inputs_per_step))
            at += size
        found = ensemble.decode(stream.finish(), 3, 6)
    assert torch.equal(found.classes, expected.classes)
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    assert found.classes[-1] == END
    assert found.classes.shape[0] <= 7
