import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.settings import ModelSettings
from pipeline.config import TrainSettings
from pipeline.training.augmentation import (
    LabelledBatch,
    _moved,
    _within_labels,
    augment_sound,
    drop_modalities,
    mixed,
)


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
    labelled = mixed(clips, targets, 0.4)
    made, shares = labelled.clips, labelled.joint
    assert torch.allclose(shares.sum(1), torch.ones(len(lengths)))
    torch.manual_seed(seed)  # the same draws
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    order = torch.randperm(len(lengths))
    for row, other in enumerate(order.tolist()):
        assert made.lengths[row] == max(lengths[row], lengths[other])
        for step in range(max(lengths)):
            own, its = clips.has_picture[row, step], clips.has_picture[other, step]
            assert made.has_picture[row, step] == (own | its)
            mine, theirs = clips.picture[row, step], clips.picture[other, step]
            wanted = share * mine + (1 - share) * theirs if own & its else mine if own else theirs
            if own | its:
                assert torch.allclose(made.picture[row, step], wanted, atol=1e-6)
            own, its = clips.has_sound[row, step], clips.has_sound[other, step]
            part = slice(step * 3, step * 3 + 3)
            mine, theirs = clips.sound[row, part], clips.sound[other, part]
            wanted = share * mine + (1 - share) * theirs if own & its else mine if own else theirs
            if own | its:
                assert torch.allclose(made.sound[row, part], wanted, atol=1e-6)


def test_the_waveform_itself_is_mixed_as_sound() -> None:
    clips = batch([4, 4], 0)
    loud = ClipBatch(
        clips.picture, torch.full((2, 12, 1), 16384, dtype=torch.int16), clips.has_picture,
        torch.ones_like(clips.has_sound), clips.lengths,
    )  # fmt: skip
    made = mixed(loud, torch.eye(2), 1.0).clips
    assert made.sound.dtype == torch.float32
    assert made.sound.numpy() == pytest.approx(0.5)


@settings(deadline=None, max_examples=60)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=12), seed=st.integers(0, 999))
def test_within_labels_every_clip_is_once_the_other_of_one_of_its_own(labels, seed) -> None:
    torch.manual_seed(seed)
    clips = batch([3] * len(labels), seed)
    targets = torch.eye(4)[labels]
    assert torch.allclose(mixed(clips, targets, 0.4, within=1.0).joint, targets)
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
    found = mixed(clips, targets, 0.4)
    torch.manual_seed(seed)  # the same draws
    torch.distributions.Beta(0.4, 0.4).sample()
    order = torch.randperm(len(lengths))
    for shares, there in ((found.picture, clips.has_picture), (found.sound, clips.has_sound)):
        has = there.any(dim=1)
        for row, other in enumerate(order.tolist()):
            expected = found.joint[row]
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
    assert left.has_picture[:1000].all()  # all they have
    seen, heard = (m[1000:].any(dim=1).float() for m in (left.has_picture, left.has_sound))
    assert float(seen.mean()) == pytest.approx(0.75, abs=0.03)
    assert float(heard.mean()) == pytest.approx(0.75, abs=0.03)
    assert ((seen + heard) > 0).all()


def test_sound_is_moved_within_what_each_clip_has() -> None:
    sound = torch.arange(6.0)[None, :, None].repeat(4, 1, 1)
    has_sound = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    moved = _moved(sound, has_sound, torch.tensor([0, 2, -1, 1]))
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
    made = augment_sound(clips, TrainSettings(sound_masking=0, **settings_of), net)
    assert made.sound.shape == clips.sound.shape
    assert torch.equal(made.sound, clips.sound) == (kind == "pretrained")
