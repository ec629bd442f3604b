""" """

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from data_prep.segments import UNKNOWN
from data_prep.settings import TaskSettings
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.losses import WeightedCrossEntropy
from models.output import ClassifierOutput
from models.settings import ModelSettings
from pipeline.config import TrainSettings, load_config
from pipeline.features.samples import Sample
from pipeline.tasks import get_task
from pipeline.training.lightning_module import (
    Batch,
    ClipTraining,
    LabelledBatch,
    _moved,
    _within_labels,
    augment_audio,
    drop_modalities,
    mixup,
    warm_cosine,
)
from pipeline.training.training_data import class_weights


def batch(lengths: list[int], seed: int, per_step: int = 3) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    size, steps = len(lengths), max(lengths)
    inside = torch.arange(steps)[None] < torch.tensor(lengths)[:, None]
    return ClipBatch(
        torch.randn(size, steps, 4, generator=generator),
        torch.randn(size, steps * per_step, 2, generator=generator),
        inside & (torch.rand(size, steps, generator=generator) > 0.3),
        inside & (torch.rand(size, steps, generator=generator) > 0.3),
        torch.tensor(lengths),
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 999))
def test_what_only_one_has_stays_as_it_is_and_shares_follow_the_labels(lengths, seed) -> None:
    clips, targets = batch(lengths, seed), torch.eye(max(len(lengths), 2))[: len(lengths)]
    torch.manual_seed(seed)
    labelled = mixup(clips, targets, 0.4)
    made, shares = labelled.clips, labelled.fused
    assert torch.allclose(shares.sum(1), torch.ones(len(lengths)))
    torch.manual_seed(seed)  # the same draws
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    order = torch.randperm(len(lengths))
    for row, other in enumerate(order.tolist()):
        assert made.lengths[row] == max(lengths[row], lengths[other])
        for step in range(max(lengths)):
            own, its = clips.video_mask[row, step], clips.video_mask[other, step]
            assert made.video_mask[row, step] == (own | its)
            mine, theirs = clips.video[row, step], clips.video[other, step]
            wanted = share * mine + (1 - share) * theirs if own & its else mine if own else theirs
            if own | its:
                assert torch.allclose(made.video[row, step], wanted, atol=1e-6)
            own, its = clips.audio_mask[row, step], clips.audio_mask[other, step]
            part = slice(step * 3, step * 3 + 3)
            mine, theirs = clips.audio[row, part], clips.audio[other, part]
            wanted = share * mine + (1 - share) * theirs if own & its else mine if own else theirs
            if own | its:
                assert torch.allclose(made.audio[row, part], wanted, atol=1e-6)


def test_the_waveform_itself_is_mixed_as_sound() -> None:
    clips = batch([4, 4], 0)
    loud = ClipBatch(
        clips.video, torch.full((2, 12, 1), 16384, dtype=torch.int16), clips.video_mask,
        torch.ones_like(clips.audio_mask), clips.lengths,
    )  # fmt: skip
    made = mixup(loud, torch.eye(2), 1.0).clips
    assert made.audio.dtype == torch.float32
    assert made.audio.numpy() == pytest.approx(0.5)


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=12), seed=st.integers(0, 999))
def test_within_labels_every_clip_is_once_the_other_of_one_of_its_own(labels, seed) -> None:
    torch.manual_seed(seed)
    clips = batch([3] * len(labels), seed)
    targets = torch.eye(4)[labels]
    assert torch.allclose(mixup(clips, targets, 0.4, within=1.0).fused, targets)
    of_clip = torch.tensor(labels)
    order = _within_labels(of_clip, torch.randperm(len(labels)))
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert torch.equal(of_clip[order], of_clip)


def test_pairs_within_labels_are_drawn() -> None:
    orders = {
        tuple(_within_labels(torch.zeros(4, dtype=torch.int64), torch.randperm(4)).tolist())
        for _ in range(200)
    }
    assert len(orders) > 20  # of 24


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.integers(0, 999))
def test_a_sound_that_only_one_of_two_has_keeps_its_own_label(lengths, seed) -> None:
    clips, targets = batch(lengths, seed), torch.eye(len(lengths))
    torch.manual_seed(seed)
    found = mixup(clips, targets, 0.4)
    torch.manual_seed(seed)  # the same draws
    torch.distributions.Beta(0.4, 0.4).sample()
    order = torch.randperm(len(lengths))
    for shares, there in ((found.video, clips.video_mask), (found.audio, clips.audio_mask)):
        has = there.any(dim=1)
        for row, other in enumerate(order.tolist()):
            expected = found.fused[row]
            if has[row] != has[other]:
                expected = targets[row if has[row] else other]
            assert torch.equal(shares[row], expected)


def test_modalities_are_dropped_as_often_as_asked_and_never_both() -> None:
    there = torch.ones(4000, 2, dtype=torch.bool)
    there[:1000, :] = False
    clips = ClipBatch(torch.zeros(4000, 2, 1), torch.zeros(4000, 2, 1), torch.ones_like(there),
                      there, torch.full((4000,), 2))  # fmt: skip
    shares = torch.zeros(4000, 2)
    torch.manual_seed(0)
    left = drop_modalities(LabelledBatch(clips, shares, shares, shares), 0.25).clips
    assert left.video_mask[:1000].all()  # all they have
    seen, heard = (m[1000:].any(dim=1).float() for m in (left.video_mask, left.audio_mask))
    assert float(seen.mean()) == pytest.approx(0.75, abs=0.03)
    assert float(heard.mean()) == pytest.approx(0.75, abs=0.03)
    assert ((seen + heard) > 0).all()


def test_sound_is_moved_within_what_each_clip_has() -> None:
    sound = torch.arange(6.0)[None, :, None].repeat(4, 1, 1)
    audio_mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    moved = _moved(sound, audio_mask, torch.tensor([0, 2, -1, 1]))
    assert moved[:, :, 0].tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 0, 1, 2, 3],  # nothing comes to the first two
        [1, 2, 3, 3, 4, 5],  # what is past the end of its sound does not come in
        [0, 0, 2, 3, 4, 4],  # nor does what is in the gap
    ]


@pytest.mark.parametrize("kind", ["log_mel", "waveform", "pretrained"])
@pytest.mark.parametrize("settings_of", [{"sound_shift": 0.9}, {"sound_gain_db": 20.0}])
def test_training_moves_and_amplifies_what_can_be(kind: str, settings_of) -> None:
    model = ModelSettings(modalities="sound", audio_front_end=kind)
    net = AudioVisualClassifier(model, Dimensions(4, 2, 3, 16_000, 2))
    clips = batch([4, 4], 0)
    torch.manual_seed(0)
    made = augment_audio(clips, TrainSettings(sound_masking=0, **settings_of), net)
    assert made.audio.shape == clips.audio.shape
    assert torch.equal(made.audio, clips.audio) == (kind == "pretrained")


SETTINGS = ModelSettings(modalities="sound", audio_front_end="log_mel")


def optimum(counts: list[int], smoothing: float = 0.05) -> torch.Tensor:
    """What clips are told whose pictures say nothing but their label: [K labels, K], by descent."""
    labels = [k for k, n in enumerate(counts) for _ in range(n)]
    loss = WeightedCrossEntropy(class_weights(labels, len(counts)), smoothing)
    targets = nn.functional.one_hot(torch.tensor(labels), len(counts)).float()
    table = torch.zeros(len(counts), len(counts), requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss(table[targets.argmax(1)], targets).backward()
        optimizer.step()
    return table.detach().softmax(1)


@pytest.mark.parametrize("counts", [[40, 0], [60, 60, 0], [400, 10], [300, 198, 2]])
def test_rare_and_absent_labels_are_not_named_for_others(counts: list[int]) -> None:
    told = optimum(counts)
    for k, n in enumerate(counts):
        if n:
            assert told[k, k] > 0.9
        else:
            assert told[torch.tensor(counts) > 0, k].max() < 0.01


def test_every_label_counts_alike_and_equal_ones_as_in_torch() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 2)
    targets = nn.functional.one_hot(torch.tensor([0, 1] * 4), 2).float()
    ours = WeightedCrossEntropy([1.0, 1.0], 0.1)(logits, targets)
    assert torch.allclose(ours, nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets))
    uneven = nn.functional.one_hot(torch.tensor([0, 0, 0, 1]), 2).float()
    weights = class_weights([0, 0, 0, 1], 2)
    each = nn.functional.cross_entropy(logits[:4], uneven, reduction="none")
    found = WeightedCrossEntropy(weights, 0.0)(logits[:4], uneven)
    assert torch.allclose(found, (each[:3].mean() + each[3]) / 2)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [warm_cosine(step, 100) for step in range(101)]
    assert rates.index(max(rates)) == 4
    assert rates[100] == pytest.approx(0)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def selection(
    choose_by: str, logits: torch.Tensor, targets: torch.Tensor, weights: tuple[float, ...]
) -> float:
    sizes = Dimensions(4, 64, 10, 16_000, len(weights))
    settings = TrainSettings(choose_by=choose_by)
    loss = WeightedCrossEntropy(list(weights), settings.label_smoothing)
    module = ClipTraining(AudioVisualClassifier(SETTINGS, sizes), None, settings, loss)
    own = {"sound": torch.zeros_like(logits)}
    present = {"sound": torch.ones(len(targets), dtype=torch.bool)}
    module._validation_batches = [(ClassifierOutput(logits, own, present), targets)]
    module.log_dict = lambda scores: None
    module.on_validation_epoch_end()
    return module._scores["val_selection"]


def test_the_best_epoch_is_not_the_one_that_is_least_sure() -> None:
    """Twice as sure is no better and no worse; telling more clips right from wrong is."""
    targets = torch.arange(40) % 2
    right = nn.functional.one_hot(targets, 2).float() * 2 - 1
    doubtful = right.clone()
    doubtful[:12] *= -0.3
    worse = right.clone()
    worse[:12] *= -1
    by_loss = [selection("loss", x, targets, (1, 1)) for x in (doubtful, 2 * doubtful, worse)]
    assert by_loss[0] == pytest.approx(by_loss[1], abs=0.01)
    assert by_loss[0] > by_loss[2] + 0.05
    by_f1 = [selection("macro_f1", x, targets, (1, 1)) for x in (doubtful, worse, right)]
    assert by_f1[0] == pytest.approx(by_f1[1], abs=2e-3)  # the same labels
    assert by_f1[2] > by_f1[0]


def test_clips_of_a_label_that_no_training_clip_has_do_not_choose() -> None:
    torch.manual_seed(0)
    targets = torch.tensor([0, 1, 0, 1, 2])
    sure = nn.functional.one_hot(targets % 2, 3).float() * 4
    less = sure.clone()
    less[4] = 0
    assert selection("loss", sure, targets, (1, 1, 0)) == selection(
        "loss", less, targets, (1, 1, 0)
    )
    assert selection("loss", sure, targets, (1, 1, 1)) != selection(
        "loss", less, targets, (1, 1, 1)
    )
    alone = selection("loss", sure[4:], targets[4:], (1, 1, 0))  # there is nothing else to go by
    assert alone < 0


@pytest.mark.parametrize("name", ["timeline", "forecast"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), n_unknown=st.integers(1, 9))
def test_steps_of_unknown_label_change_neither_the_loss_nor_its_gradient(
    name: str, seed: int, n_unknown: int
) -> None:
    """The loss equals that of the known rows alone, whatever the others look like."""
    task = get_task(TaskSettings(name=name, horizon_steps=2), 1.0)
    rng = torch.Generator().manual_seed(seed)
    model = ModelSettings(modalities="picture", picture_features=6, head_units=8, dropout=0.0)
    torch.manual_seed(0)
    net = AudioVisualClassifier(model, Dimensions(4, 1, 1, 16_000, 3), task.build_head())
    config = load_config(None, ["train.mirror=never", "train.mixup=0"]).train
    module = ClipTraining(net, None, config, task.build_loss([1.0] * 3, config), per_clip=False)
    shown = torch.ones(5, dtype=torch.bool)
    items = [
        Sample(torch.randn(5, 4, generator=rng), torch.zeros(5, 1), shown, shown, ())
        for _ in range(2)
    ]
    numbers = torch.randint(0, 3, (10 * task.rows_per_step,), generator=rng)
    unknown = torch.randperm(numbers.shape[0], generator=rng)[:n_unknown]
    numbers[unknown] = UNKNOWN
    loss = module.training_step(Batch(items, numbers), 1)
    loss.backward()
    with torch.no_grad():  # other weights for the rows that are unknown cannot matter
        output = net.outputs(module.clip_batch(items))
    known = numbers != UNKNOWN
    targets = torch.nn.functional.one_hot(numbers[known], 3).float()
    positions = module._positions(items, numbers)[known]
    of_known = module.loss(output.fused[known], targets, positions)
    for logits in output.unimodal.values():
        of_known = of_known + config.own_loss * module.loss(logits[known], targets, positions)
    assert torch.allclose(loss.detach(), of_known, atol=1e-6)
