import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.settings import DEFAULT_FRAME_SIZE_PX
from data_prep.video.resize import scaled_size
from models.backbones import backbone_names, get_backbone
from models.backbones.frame_encoder import FrameEncoder
from models.settings import ModelSettings
from pipeline.features.encoder_weights import load_frame_encoder
from tests.helpers.media import squared

CATEGORY = {"chelsea": "Egyptian cat", "coffee": "espresso"}


def frame(name: str, side_px: int) -> torch.Tensor:
    import skimage.data

    picture = getattr(skimage.data, name)()
    width, height = scaled_size((picture.shape[1], picture.shape[0]), side_px, "crop")
    scaled = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(squared(np.asarray(scaled), side_px))[None]


@pytest.mark.parametrize("encoder_name", ["efficientnet_lite0", "efficientnet_lite2"])
@pytest.mark.parametrize("picture", sorted(CATEGORY))
def test_weights_name_known_pictures(encoder_name: str, picture: str) -> None:
    from torchvision.models import EfficientNet_B0_Weights

    categories = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    encoder = load_frame_encoder(ModelSettings(frame_encoder=encoder_name))
    with torch.inference_mode():
        features = encoder(frame(picture, get_backbone(encoder_name).input_size_px))
        logits = encoder.trunk.net._fc(features)
    assert categories[int(logits.argmax())] == CATEGORY[picture]


def test_the_default_size_is_the_default_cnns() -> None:
    assert get_backbone(ModelSettings().frame_encoder).input_size_px == DEFAULT_FRAME_SIZE_PX


def test_native_sizes() -> None:
    assert get_backbone("efficientnet_lite2").input_size_px == 260
    assert get_backbone("efficientnet_lite0").input_size_px == 224
    assert get_backbone("resnet18").input_size_px == 224


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "vgg11", "densenet121", "swin_t", "vit_b_16"]
)
def test_torchvision_networks_by_name(name: str) -> None:
    encoder = FrameEncoder(name)
    with torch.inference_mode():
        out = encoder(torch.zeros(2, 3, 224, 224, dtype=torch.uint8))
    assert out.shape == (2, encoder.n_features)
    encoder.set_trainable(1)
    trained = {key for key, value in encoder.named_parameters() if value.requires_grad}
    assert trained
    assert len(trained) < len(list(encoder.parameters()))


def test_unknown_and_unfit_names_are_refused() -> None:
    assert "resnet18" in backbone_names()
    with pytest.raises(ValueError, match="not a known backbone"):
        FrameEncoder("resnet19")
    with pytest.raises(ValueError, match="no linear layer"):
        FrameEncoder("squeezenet1_0")


def test_wrong_shapes_and_types_are_refused() -> None:
    encoder = FrameEncoder("efficientnet_lite0")
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\]"):
        encoder(torch.zeros(3, 224, 224, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        encoder(torch.zeros(1, 3, 224, 224))


def test_only_the_last_blocks_are_trainable() -> None:
    encoder = FrameEncoder("efficientnet_lite0")
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.set_trainable(2)
    trainable = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert any("_conv_head" in name for name in trainable)
    assert any("_blocks.14" in name for name in trainable)
    assert not any("_blocks.13" in name or "_conv_stem" in name for name in trainable)


def test_norms_never_use_the_batch() -> None:
    encoder = FrameEncoder("efficientnet_lite0", trainable_blocks=1).train()
    assert not any(module.training for module in encoder.modules())


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="do not fit efficientnet_lite0"):
        FrameEncoder("efficientnet_lite0").load_weights({"conv": torch.zeros(1)})
