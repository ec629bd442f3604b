"""The parts of the GPU's way that can be shown without one."""

import numpy as np
import pytest
import torch

from pipeline.encoding.backend import Backend
from pipeline.encoding.batch_encoder import encode_now
from pipeline.encoding.encoder import encoder_source
from pipeline.encoding.torch_encoder import TorchEncoder
from pipeline.errors import UserError
from tests.test_batch_encoder import LITE0, SIDE_PX, some_frames


@pytest.fixture(scope="module")
def source():
    return encoder_source(LITE0, SIDE_PX)


def encoder(source, precision: str = "float32", batch: int = 8) -> TorchEncoder:
    return TorchEncoder(source, Backend("torch", "cpu", precision), batch)


def test_after_running_out_of_memory_smaller_parts_are_tried(source, monkeypatch) -> None:
    whole = encoder(source)
    frames = torch.from_numpy(np.stack(some_frames(8)))
    expected = whole._features(frames)
    sizes = []

    def small(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.cuda.OutOfMemoryError("as it happens")
        return features(part)

    features = whole._features
    monkeypatch.setattr(whole, "_features", small)
    assert torch.allclose(whole._fitting(frames), expected, atol=1e-5)
    assert sizes[:2] == [8, 4]
    whole._fitting(frames)
    assert sizes[-4:] == [2, 2, 2, 2]  # it remembers


def test_not_even_one_frame_fits(source, monkeypatch) -> None:
    def never(part):
        raise torch.cuda.OutOfMemoryError("as it happens")

    tight = encoder(source)
    monkeypatch.setattr(tight, "_features", never)
    with pytest.raises(UserError, match="use device=cpu"):
        tight._fitting(torch.zeros(4, 3, SIDE_PX, SIDE_PX, dtype=torch.uint8))


@pytest.mark.parametrize(("precision", "least"), [("float16", 0.9999), ("bfloat16", 0.98)])
def test_16_bits_are_near_float32(source, precision: str, least: float) -> None:
    exact = encode_now(encoder(source), some_frames(4)).astype(float)
    rough = encode_now(encoder(source, precision), some_frames(4)).astype(float)
    cosine = (exact * rough).sum() / np.linalg.norm(exact) / np.linalg.norm(rough)
    assert least < cosine < 0.99999999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpus_features_agree(source) -> None:
    gpu = TorchEncoder(source, Backend("torch", "cuda", "float32"), 8)
    a, b = (encode_now(one, some_frames(20)) for one in (gpu, encoder(source)))
    assert np.allclose(a.astype(float), b.astype(float), atol=1e-2)
