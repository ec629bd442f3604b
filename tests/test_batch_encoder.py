"""What every backend promises of the frame encoder.

The parts of the GPU's way that can be shown without one.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.config import ClassifySettings
from pipeline.errors import UserError
from pipeline.features.backend import Backend
from pipeline.features.batch_encoder import encode_now, padded
from pipeline.features.encoder_weights import encoder_source
from pipeline.features.feature_extractor import open_encoder
from pipeline.features.torch_encoder import TorchEncoder
from tests.helpers.frames import LITE0, SIDE_PX, some_frames

BACKENDS = [Backend("openvino", "cpu", "float32"), Backend("torch", "cpu", "float32")]


@pytest.fixture(scope="module")
def source():
    return encoder_source(LITE0, SIDE_PX)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_a_frames_features_do_not_depend_on_place_or_neighbours(source, backend, batch) -> None:
    encoder = open_encoder(source, backend, ClassifySettings(frame_batch=batch))
    frames = some_frames(8)
    together = encode_now(encoder, frames)
    assert len(np.unique(together, axis=0)) == 8
    for place in (0, 3, 7):
        assert np.array_equal(encode_now(encoder, [frames[place]])[0], together[place])
    assert np.array_equal(encode_now(encoder, frames[::-1])[::-1], together)


def test_backends_agree(source) -> None:
    one, other = (
        encode_now(open_encoder(source, backend, ClassifySettings()), some_frames(4))
        for backend in BACKENDS
    )
    assert np.allclose(one.astype(float), other.astype(float), atol=2e-3, rtol=2e-3)


def test_identity_names_who_made_the_features(source) -> None:
    encoder = open_encoder(source, BACKENDS[0], ClassifySettings())
    assert (encoder.identity.backend, encoder.identity.precision) == ("openvino-cpu", "float32")
    assert encoder.identity.weights_digest == source.weights_digest
    assert encoder.batch == 1


@pytest.mark.parametrize("n", [0, 3])
def test_too_few_or_too_many_frames_are_ours(n: int) -> None:
    with pytest.raises(ValueError, match=f"got {n}"):
        padded(some_frames(n), 2)


def test_what_opens_an_encoder_loads_neither_torch_nor_openvino() -> None:
    code = (
        "import sys, pipeline.inference.classify_table; "
        "print([m for m in ('torch', 'openvino', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture(scope="module")
def torch_source():
    return encoder_source(LITE0, SIDE_PX)


def encoder(torch_source, precision: str = "float32", batch: int = 8) -> TorchEncoder:
    return TorchEncoder(torch_source, Backend("torch", "cpu", precision), batch)


def test_after_running_out_of_memory_smaller_parts_are_tried(torch_source, monkeypatch) -> None:
    whole = encoder(torch_source)
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


def test_not_even_one_frame_fits(torch_source, monkeypatch) -> None:
    def never(part):
        raise torch.cuda.OutOfMemoryError("as it happens")

    tight = encoder(torch_source)
    monkeypatch.setattr(tight, "_features", never)
    with pytest.raises(UserError, match="use device=cpu"):
        tight._fitting(torch.zeros(4, 3, SIDE_PX, SIDE_PX, dtype=torch.uint8))


@pytest.mark.parametrize(("precision", "least"), [("float16", 0.9999), ("bfloat16", 0.98)])
def test_16_bits_are_near_float32(torch_source, precision: str, least: float) -> None:
    exact = encode_now(encoder(torch_source), some_frames(4)).astype(float)
    rough = encode_now(encoder(torch_source, precision), some_frames(4)).astype(float)
    cosine = (exact * rough).sum() / np.linalg.norm(exact) / np.linalg.norm(rough)
    assert least < cosine < 0.99999999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpus_features_agree(torch_source) -> None:
    gpu = TorchEncoder(torch_source, Backend("torch", "cuda", "float32"), 8)
    a, b = (encode_now(one, some_frames(20)) for one in (gpu, encoder(torch_source)))
    assert np.allclose(a.astype(float), b.astype(float), atol=1e-2)
