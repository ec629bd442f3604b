"""What every backend promises of the frame encoder."""

import subprocess
import sys

import numpy as np
import pytest

from models.settings import ModelSettings
from pipeline.config import ClassifySettings
from pipeline.encoding.backend import Backend
from pipeline.encoding.batch_encoder import encode_now, open_encoder, padded
from pipeline.encoding.encoder import encoder_source

LITE0 = ModelSettings(frame_encoder="efficientnet_lite0")  # random weights give zeros
SIDE_PX = 64
BACKENDS = [Backend("openvino", "cpu", "float32"), Backend("torch", "cpu", "float32")]


def some_frames(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, SIDE_PX, SIDE_PX)).astype(np.uint8) for _ in range(n)]


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
        "import sys, pipeline.classifying.classify_table; "
        "print([m for m in ('torch', 'openvino', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
