import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_prep.settings import ClipSettings
from models.settings import ModelSettings
from pipeline.checkpoints.checkpoint import (
    build_classifier,
    build_front_end,
    load_model,
    save_model,
)
from pipeline.checkpoints.model_card import ModelCard
from pipeline.errors import UserError
from pipeline.storage.workspace import EncoderIdentity


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        labels=("a", "b"),
        clip=ClipSettings(frame_size_px=224),
        model=ModelSettings(modalities="both", frame_encoder="efficientnet_lite0"),
        encoder=EncoderIdentity(
            name="efficientnet_lite0",
            weights_digest="0" * 16,
            n_features=1280,
            backend="torch-cpu",
            precision="float32",
        ),
    )  # fmt: skip


def saved(tmp_path, card: ModelCard, members: int = 1):
    nets = [build_classifier(card, build_front_end(card)) for _ in range(members)]
    save_model(tmp_path, card, nets, None)
    return nets


def test_round_trip(tmp_path, card) -> None:
    both = card.model_copy(update={"model": card.model.model_copy(update={"modalities": "both"})})
    warm = {"all": 1.5, "picture": 0.5, "sound": 2.0}
    for members in (1, 3):
        nets = saved(tmp_path, both.model_copy(update={"temperatures": warm}), members)
        loaded = load_model(tmp_path)
        assert loaded.card == both.model_copy(update={"temperatures": warm, "members": members})
        assert loaded.classifier.temperatures == warm
        for net, read in zip(nets, loaded.classifier, strict=True):
            for name, value in net.state_dict().items():
                assert torch.equal(read.state_dict()[name], value)


def test_a_member_too_many_or_too_few_is_refused(tmp_path, card) -> None:
    saved(tmp_path, card, members=2)
    path = tmp_path / "model.json"
    for number in (1, 3):
        path.write_text(path.read_text().replace('"members": 2', f'"members": {number}'))
        with pytest.raises(UserError, match="does not hold the network"):
            load_model(tmp_path)
        saved(tmp_path, card, members=2)


VERSION_5 = json.loads(Path(__file__).with_name("version_5_tensors.json").read_text())
"""{kind of network: its settings, and names and shapes of its tensors as version 5 wrote them}."""


@pytest.mark.parametrize("kind", VERSION_5)
def test_a_model_of_version_5_is_read(tmp_path, card, kind: str) -> None:
    """Its tensors are named otherwise; what they hold is the same, of every member."""
    settings = card.model.model_copy(update=VERSION_5[kind]["settings"])
    card = card.model_copy(update={"model": settings, "clip": ClipSettings(
        frame_size_px=224, frame_rate_hz=1)})  # fmt: skip
    saved(tmp_path, card, members=2)
    shapes = VERSION_5[kind]["tensors"]
    old = {
        f"{prefix}{name}": torch.full(shape, 1.0 + number)
        for prefix in ("classifier.", "classifier2.")
        for number, (name, shape) in enumerate(shapes.items())
    }
    path = tmp_path / "model.safetensors"
    save_file(old, path)
    with pytest.raises(UserError, match="does not hold the network"):
        load_model(tmp_path)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"version": 6', '"version": 5'))
    for member in load_model(tmp_path).classifier:
        # modules kept their order, so the tensors come in that of the old file
        found = [float(value.flatten()[0]) for value in member.state_dict().values()]
        assert found == [1.0 + number for number in range(len(shapes))]


def test_no_pickle_in_a_checkpoint(tmp_path, card) -> None:
    saved(tmp_path, card)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    json.loads((tmp_path / "model.json").read_text())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"labels"', '"lables"'),
        lambda text: text.replace('"version": 6', '"version": 7'),
        lambda text: text.replace("224", "99999"),
        lambda text: text[:50],
    ],
)
def test_a_json_that_is_not_ours_is_refused(tmp_path, card, damage) -> None:
    saved(tmp_path, card)
    path = tmp_path / "model.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_tensors_that_do_not_fit_the_description_are_refused(tmp_path, card) -> None:
    saved(tmp_path, card)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["classifier.out.weight"] = torch.zeros(5, 5)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="does not hold the network"):
        load_model(tmp_path)


def test_other_encoder_weights_are_refused(tmp_path, card) -> None:
    saved(tmp_path, card)
    with pytest.raises(UserError, match="was trained with efficientnet_lite0 weights 0000"):
        load_model(tmp_path).frame_encoder()


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t | {"classifier.head.linear.bias": torch.full((2,), float("nan"))},
        lambda t: t | {"classifier.head.linear.bias": torch.zeros(2, dtype=torch.float64)},
        lambda t: t | {"stranger": torch.zeros(2)},
        lambda t: t | {"frame_encoder.x": torch.zeros(2)},
        lambda t: {k: v for k, v in t.items() if k != "classifier.head.linear.bias"},
    ],
)
def test_tensors_of_strangers_are_refused(tmp_path, card, damage) -> None:
    saved(tmp_path, card)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(damage(tensors), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"head_units": 128', '"head_units": 10000000'),
        lambda text: text.replace('"n_features": 1280', '"n_features": 999999999999'),
        lambda text: "[" * 100_000,
        lambda text: text.replace('"a"', '"' + "a" * 1_000_000 + '"'),
        lambda text: '{"a": 1e999, ' + text[1:],
    ],
)
def test_a_json_that_asks_for_too_much_is_refused_before_anything_is_allocated(
    tmp_path, card, damage
) -> None:
    saved(tmp_path, card)
    path = tmp_path / "model.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_a_safetensors_header_that_lies_is_refused(tmp_path, card) -> None:
    saved(tmp_path, card)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["pretrained", "log_mel", "waveform"])
def test_reading_a_model_does_not_load_torchs_compiler(tmp_path, card, kind: str) -> None:
    """It takes a second, and nothing of it is used."""
    model = card.model.model_copy(update={"audio_front_end": kind})
    saved(tmp_path, card.model_copy(update={"model": model}))
    code = (
        "import sys; from pathlib import Path; from pipeline.checkpoints.checkpoint import "
        f"load_model; load_model(Path({str(tmp_path)!r})); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
