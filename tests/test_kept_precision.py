"""The layers that stay in float32 when the CNN runs in bfloat16."""

from xml.etree import ElementTree

import numpy as np
import pytest
from skimage import data as photographs

from models.settings import ModelSettings
from pipeline.encoding.backend import Backend, has_bfloat16
from pipeline.encoding.batch_encoder import encode_now
from pipeline.encoding.encoder import encoder_source
from pipeline.encoding.kept_precision import marked
from pipeline.encoding.openvino_encoder import OpenVinoEncoder, kept_path

LAYER = '<layer id="{}" name="{}" type="{}" version="opset1">{}</layer>'
PICTURES = f"<output><port>{'<dim>1</dim>' * 4}</port></output>"
SAMPLES = f"<output><port>{'<dim>1</dim>' * 3}</port></output>"


def described(*kinds: str) -> bytes:
    """Layers of these kinds; those called "Sound…" give samples."""
    layers = [
        LAYER.format(i, i, kind.removeprefix("Sound"), "<data/>")
        .replace("<data/>", "<data/>" + (SAMPLES if kind.startswith("Sound") else PICTURES))
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    return f'<net name="n" version="11"><layers>{"".join(layers)}</layers></net>'.encode()


def kept(description: bytes) -> list[bool]:
    layers = ElementTree.fromstring(description).findall("./layers/layer")
    return [layer.find("./rt_info/attribute[@name='precise']") is not None for layer in layers]


def test_the_first_quarter_of_the_convolutions_is_kept_and_what_comes_before_them() -> None:
    block = ["Const", "Convolution", "Add"]
    description = marked(described("Parameter", "Log", *block * 8, "Result"))
    assert kept(description) == [
        False, True, *[False, True, True] * 2, False, *[False] * 18,
    ]  # fmt: skip


def test_convolutions_over_samples_are_kept_and_not_counted() -> None:
    kinds = ["Parameter", "SoundConvolution", "SoundConvolution", *["Convolution"] * 4]
    assert kept(marked(described(*kinds))) == [False, True, True, True, False, False, False]


def test_the_mark_stands_where_openvino_reads_it_beside_other_notes() -> None:
    notes = '<data/><rt_info><attribute name="other" version="0"/></rt_info><output/>'
    first = LAYER.format(0, "a", "Log", notes)
    rest = "".join(LAYER.format(i, i, "Convolution", PICTURES) for i in range(1, 5))
    root = ElementTree.fromstring(
        marked(f'<net name="n"><layers>{first}{rest}</layers></net>'.encode())
    )
    layers = root.findall("./layers/layer")
    assert [child.tag for child in layers[0]] == ["data", "rt_info", "output"]
    assert len(layers[0].findall("./rt_info/attribute")) == 2
    assert layers[1].find("rt_info") is not None


def test_a_network_without_convolutions_is_left_as_it_is() -> None:
    assert marked(described("Parameter", "MatMul")) == described("Parameter", "MatMul")


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_features_in_bfloat16_tell_frames_apart_as_those_in_float32_do() -> None:
    """Off by less than a tenth of what tells two parts of a photograph apart."""
    side_px = 224
    source = encoder_source(ModelSettings(frame_encoder="efficientnet_lite0"), side_px)
    picture = photographs.coffee().transpose(2, 0, 1)
    frames = [
        np.ascontiguousarray(picture[:, y : y + side_px, x : x + side_px])
        for y, x in ((0, 0), (60, 100), (150, 300), (170, 30))
    ]
    exact, rough = (
        encode_now(OpenVinoEncoder(source, Backend("openvino", "cpu", precision), 1, 2), frames)
        for precision in ("float32", "bfloat16")
    )
    spread = np.linalg.norm(exact - exact.mean(axis=0))
    assert 0 < np.linalg.norm(rough.astype(float) - exact) < 0.1 * spread


def test_openvino_knows_the_mark(tmp_path, monkeypatch) -> None:
    """Where it did not, all would be computed in bfloat16, and features be off ten times as far."""
    import openvino

    monkeypatch.setenv("FRAMEWAVE_CACHE", str(tmp_path))
    source = encoder_source(ModelSettings(frame_encoder="efficientnet_lite0"), 64)
    OpenVinoEncoder(source, Backend("openvino", "cpu", "float32"), 1, 1)
    model = openvino.Core().read_model(kept_path(source))
    convolutions = [
        op for op in model.get_ordered_ops()
        if op.get_type_name() in ("Convolution", "GroupConvolution")
    ]  # fmt: skip
    kept_back = [
        "DisablePrecisionConversion_0" in op.get_rt_info().keys()  # noqa: SIM118  no mapping
        for op in convolutions
    ]
    assert kept_back == [True] * (len(convolutions) // 4) + [False] * (
        len(convolutions) - len(convolutions) // 4
    )
