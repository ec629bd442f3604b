from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.manifest import ManifestRow
from data_prep.settings import TaskSettings
from models.settings import ModelSettings
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.config import Config, TrainSettings, load_config
from pipeline.errors import UserError
from pipeline.features.samples import LabelledSample, Sample
from pipeline.reporter import SilentReporter
from pipeline.tasks import get_task
from pipeline.training.epoch_selection import CrossFitted, split_in_halves
from pipeline.training.fit import clip_targets, fit, resolve_mirror
from tests.helpers.cards import card

CARD = card(model=ModelSettings(modalities="picture", head_units=8, picture_features=8))


@pytest.mark.parametrize(
    ("blocks", "labels", "asked", "expected"),
    [
        (2, ("turns_left", "turns_right"), "auto", "never"),
        (2, ("turns_left", "turns_right"), "always", "always"),
        (2, ("fox", "badger"), "auto", "auto"),
        (0, ("turns_left", "turns_right"), "auto", "auto"),  # prep has left them out
    ],
)
def test_a_tuned_encoder_sees_no_frame_in_a_mirror_where_labels_name_sides(
    blocks, labels, asked, expected
) -> None:
    model = ModelSettings(modalities="both", trainable_blocks=blocks, audio_front_end="log_mel")
    settled = resolve_mirror(TrainSettings(mirror=asked), card(labels=labels, model=model))
    assert settled == TrainSettings(mirror=expected)


def clips(n: int, seed: int) -> list[LabelledSample]:
    """Clips of many lengths whose pictures tell their labels not quite."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(n):
        steps, label = 1 + number % 7, number % 2
        picture = torch.randn(steps, 1280, generator=generator) + (label - 0.5) * 0.1
        shown = torch.ones(steps, dtype=torch.bool)
        sample = Sample(picture.half(), torch.zeros(steps, 0), shown, ~shown)
        row = ManifestRow(path=f"{seed}-{number}", label="ab"[label], group=f"g{number % 11}")
        found.append(LabelledSample(row, sample))
    return found


def test_validation_scores_are_those_of_each_half_by_the_others_choice(tmp_path: Path) -> None:
    """Worked out again from what the network says, clip by clip, after its only epoch."""
    val = clips(50, 1)
    config = load_config(
        None, ["train.max_epochs=1", "train.patience=1", "train.batch_size=4", "device=cpu"]
    )
    fitted = fit(CARD, build_front_end(CARD), clips(40, 0), val, config, tmp_path, SilentReporter())
    answers, targets = (
        fitted.predict(val)["all"],
        torch.cat(clip_targets(get_task(TaskSettings()), val, CARD.labels)),
    )
    second = split_in_halves([item.row.group for item in val], [[item.row.label] for item in val])
    right = 0
    for half in (second, ~second):
        weights, _ = fitted.module.select(answers.select(half), targets[half])
        right += int((answers.select(~half).combined(weights).argmax(1) == targets[~half]).sum())
    assert 0.5 < right / 50 < 1
    assert fitted.val_scores is not None
    assert fitted.val_scores[0] == pytest.approx(right / 50)


def arguments(config: Config, folder: Path) -> tuple[Any, ...]:
    """Arguments of `fit` for a small training."""
    front_end = build_front_end(CARD)
    return CARD, front_end, clips(40, 0), clips(30, 1), config, folder, SilentReporter()


def test_a_training_that_had_ended_is_taken_over_with_its_scores(tmp_path: Path) -> None:
    config = load_config(None, ["train.max_epochs=3", "train.patience=2", "device=cpu"])
    given = arguments(config, tmp_path)
    first, again = fit(*given), fit(*given)
    assert again.val_scores == first.val_scores
    assert again.epochs == first.epochs


class Interrupting(SilentReporter):
    """Interrupts the training in an epoch; counts those that were done before."""

    def __init__(self, in_epoch: int | None) -> None:
        self.in_epoch, self.n_done, self.n_continued = in_epoch, 0, 0

    def advance(self, n: int = 1, note: str = "", **_: Any) -> None:
        self.n_done += n
        self.n_continued += n if note == "continued" else 0
        if self.n_done == self.in_epoch:
            raise InterruptedError


@pytest.mark.parametrize("patience", ["null", "4"])
def test_an_interrupted_training_continues_after_its_last_epoch(tmp_path: Path, patience) -> None:
    config = load_config(None, ["train.max_epochs=5", f"train.patience={patience}", "device=cpu"])
    whole = fit(*arguments(config, tmp_path / "whole"))
    given = arguments(config, tmp_path / "cut")[:-1]
    with pytest.raises(InterruptedError):
        fit(*given, Interrupting(4))
    later = Interrupting(None)
    continued = fit(*given, later)
    assert later.n_continued == 3  # the fourth had no checkpoint yet
    assert continued.epochs == whole.epochs
    assert continued.val_scores == whole.val_scores
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(value, continued.classifier.state_dict()[name])


def test_a_training_of_an_older_framewave_is_not_continued(tmp_path: Path) -> None:
    config = load_config(None, ["train.max_epochs=2", "train.patience=2", "device=cpu"])
    given = arguments(config, tmp_path)
    fit(*given)
    for path in (tmp_path / "training").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)
        for callback in state["callbacks"].values():
            callback.pop("cross_fitted", None)
        torch.save(state, path)
    with pytest.raises(UserError, match="started by an older framewave; delete the folder"):
        fit(*given)


def test_halves_are_of_the_clips_in_the_order_they_are_shown(tmp_path: Path, monkeypatch) -> None:
    """Were the halves the labels, each half would be shown one label alone."""
    config = load_config(
        None, ["train.max_epochs=1", "train.patience=1", "train.batch_size=4", "device=cpu"]
    )
    seen = []

    class Spied(CrossFitted):
        def update(self, answers, targets, choose) -> None:
            seen.append(torch.equal(self._halves[1], targets == 1))
            super().update(answers, targets, choose)

    monkeypatch.setattr(
        "pipeline.training.fit.split_in_halves",
        lambda groups, labels: torch.tensor(["b" in of_clip for of_clip in labels]),
    )
    monkeypatch.setattr("pipeline.training.fit.CrossFitted", Spied)
    fit(CARD, build_front_end(CARD), clips(40, 0), clips(50, 1), config, tmp_path, SilentReporter())
    assert seen == [True]
