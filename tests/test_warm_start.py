import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from data_prep.manifest import read_manifest, write_manifest
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.heads.step import build_step_head
from models.settings import ModelSettings
from pipeline.checkpoints.checkpoint import build_classifier, build_front_end, load_model
from pipeline.evaluation.training_overlap import training_clips
from pipeline.training.warm_start import WarmStart
from tests.conftest import SETTINGS, framewave


@pytest.fixture(scope="module")
def trained(journey):
    return load_model(journey.run)


@pytest.mark.end_to_end
def test_known_labels_keep_their_rows_wherever_they_stand_now(journey, trained) -> None:
    old = trained.card.labels
    labels = ("a new one", *reversed(old))
    card = trained.card.model_copy(update={"labels": labels})
    torch.manual_seed(5)
    net = build_classifier(card, build_front_end(card))
    fresh = net.head.linear.weight[0].clone()
    first = trained.classifier.first
    WarmStart(trained.card, first.state_dict(), "").load_into(net, labels)
    assert torch.equal(net.head.linear.weight[0], fresh)
    for number, label in enumerate(labels[1:], 1):
        assert torch.equal(
            net.head.linear.weight[number], first.head.linear.weight[old.index(label)]
        )
        for name in ("picture", "sound"):
            assert torch.equal(
                net.unimodal_head(name).linear.bias[number],
                first.unimodal_head(name).linear.bias[old.index(label)],
            )
    for name, value in first.temporal.state_dict().items():
        assert torch.equal(net.temporal.state_dict()[name], value)


@pytest.mark.end_to_end
def test_without_a_shared_label_the_last_layers_begin_anew(trained) -> None:
    labels = ("another", "yet another")
    card = trained.card.model_copy(update={"labels": labels})
    net = build_classifier(card, build_front_end(card))
    fresh = net.head.linear.weight.clone()
    first = trained.classifier.first
    WarmStart(trained.card, first.state_dict(), "").load_into(net, labels)
    assert torch.equal(net.head.linear.weight, fresh)
    for name, value in first.temporal.state_dict().items():
        assert torch.equal(net.temporal.state_dict()[name], value)


@pytest.mark.end_to_end
def test_a_run_goes_on_with_more_labels(journey, tmp_path) -> None:
    work = tmp_path / "work"
    shutil.copytree(journey.work, work)
    rows = read_manifest(work / "manifest.csv")
    frogs = [row for row in rows if row.label == "day_then_night__frog"]
    renamed = {row.id for row in frogs[::2]}
    write_manifest(
        work / "manifest.csv",
        [replace(row, label="another") if row.id in renamed else row for row in rows],
    )
    begin = ["train", "--work", work, "--run", tmp_path / "run", "--from", journey.run]
    framewave(*begin, "train.max_epochs=1")
    longer = load_model(tmp_path / "run")
    assert set(longer.card.labels) == {*load_model(journey.run).card.labels, "another"}
    assert longer.card.model == load_model(journey.run).card.model  # units as they were
    before = training_clips(tmp_path / "run")
    assert {row.key for row in rows if row.split in ("train", "val")} == {
        row.key for row in before.warm_start
    }
    again = framewave("train", "--work", work, "--run", tmp_path / "run", "train.max_epochs=1",
                      check=False)  # fmt: skip
    assert again.returncode == 2
    assert "was started from" in again.stderr or "was started with" in again.stderr


@pytest.mark.end_to_end
def test_what_does_not_fit_is_said(journey, tmp_path) -> None:
    for more, says in (
        (["model.head=lstm"], "model.head=lstm asks for another network"),
        (["model.trainable_blocks=1"], "needs a frozen frame encoder"),
    ):
        done = framewave("train", "--work", journey.work, "--run", tmp_path / "r", "--from",
                         journey.run, *more, check=False)  # fmt: skip
        assert done.returncode == 2
        assert says in " ".join(done.stderr.split())
    done = framewave("train", "--work", journey.work, "--run", tmp_path / "r", "--from",
                     tmp_path / "nowhere", *SETTINGS, check=False)  # fmt: skip
    assert "holds no trained model" in done.stderr


def test_a_refined_timeline_with_its_labels_in_another_order_gives_the_same() -> None:
    settings = ModelSettings(modalities="picture", head_units=8, refinement_stages=2)

    def network(seed: int) -> AudioVisualClassifier:
        torch.manual_seed(seed)
        sizes = Dimensions(5, 0, 0, 8000, 3)
        return AudioVisualClassifier(settings, sizes, build_step_head).eval()

    old, new = network(0), network(1)
    card = SimpleNamespace(labels=("cat", "dog", "quiet"))
    WarmStart(card, old.state_dict(), "").load_into(new, ("quiet", "cat", "dog"))
    mask = torch.ones(1, 7, dtype=torch.bool)
    clip = ClipBatch(torch.randn(1, 7, 5), torch.zeros(1, 0, 0), mask, ~mask, torch.tensor([7]))
    with torch.inference_mode():
        assert torch.allclose(new(clip)[:, [1, 2, 0]], old(clip), atol=1e-6)
