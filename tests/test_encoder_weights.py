import pytest
import torch
from safetensors.torch import save_file

from models.settings import ModelSettings
from pipeline.errors import UserError
from pipeline.features.encoder_weights import load_frame_encoder, weights_digest

RANDOM = ModelSettings(frame_encoder="efficientnet_lite0", frame_weights="random")


def test_local_weights_file(tmp_path) -> None:
    source = load_frame_encoder(ModelSettings(frame_encoder="efficientnet_lite0"))
    state = source.trunk.net.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        settings = RANDOM.model_copy(update={"frame_weights": str(tmp_path / name)})
        loaded = load_frame_encoder(settings)
        assert weights_digest(loaded.state_dict()) == weights_digest(source.state_dict())


def test_a_weights_file_runs_no_code(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    settings = RANDOM.model_copy(update={"frame_weights": str(tmp_path / "evil.pth")})
    with pytest.raises(UserError, match="not a readable weights file"):
        load_frame_encoder(settings)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame_encoder": "resnet_18"}, "Did you mean 'resnet18'?"),
        ({"frame_weights": "/nowhere/w.pth"}, "does not exist (model.frame_weights)"),
    ],
)
def test_mistakes_are_named(changes, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_frame_encoder(RANDOM.model_copy(update=changes))
    assert says in str(caught.value)
