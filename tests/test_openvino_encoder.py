"""The layers that stay in float32 when the CNN runs in bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from skimage import data as photographs

from data_prep.settings import ClipSettings
from models.backbones import MODULES
from models.settings import ModelSettings
from pipeline.errors import UserError
from pipeline.features import openvino_encoder
from pipeline.features.backend import Backend, has_bfloat16
from pipeline.features.batch_encoder import EncoderSource, encode_now
from pipeline.features.encoder_weights import encoder_source, load_frame_encoder
from pipeline.features.openvino_encoder import OpenVinoEncoder, cache_path, mixed_precision
from pipeline.features.spectrogram_windows import spectrogram_source, spectrogram_windows
from tests.helpers.frames import LITE0, SIDE_PX, some_frames

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
    description = mixed_precision(described("Parameter", "Log", *block * 8, "Result"))
    assert kept(description) == [
        False, True, *[False, True, True] * 2, False, *[False] * 18,
    ]  # fmt: skip


def test_convolutions_over_samples_are_kept_and_not_counted() -> None:
    kinds = ["Parameter", "SoundConvolution", "SoundConvolution", *["Convolution"] * 4]
    assert kept(mixed_precision(described(*kinds))) == [
        False,
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_the_mark_stands_where_openvino_reads_it_beside_other_notes() -> None:
    notes = '<data/><rt_info><attribute name="other" version="0"/></rt_info><output/>'
    first = LAYER.format(0, "a", "Log", notes)
    rest = "".join(LAYER.format(i, i, "Convolution", PICTURES) for i in range(1, 5))
    root = ElementTree.fromstring(
        mixed_precision(f'<net name="n"><layers>{first}{rest}</layers></net>'.encode())
    )
    layers = root.findall("./layers/layer")
    assert [child.tag for child in layers[0]] == ["data", "rt_info", "output"]
    assert len(layers[0].findall("./rt_info/attribute")) == 2
    assert layers[1].find("rt_info") is not None


def test_a_network_without_convolutions_is_left_as_it_is() -> None:
    assert mixed_precision(described("Parameter", "MatMul")) == described("Parameter", "MatMul")


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
    model = openvino.Core().read_model(cache_path(source))
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


BACKEND = Backend("openvino", "cpu", "float32")


@pytest.fixture
def source(tmp_path, monkeypatch) -> EncoderSource:
    monkeypatch.setenv("FRAMEWAVE_CACHE", str(tmp_path / "cache"))
    return encoder_source(LITE0, SIDE_PX)


def not_to_be_built():
    raise AssertionError("it was built though it is kept")


def test_it_is_converted_once_and_kept(source) -> None:
    first = encode_now(OpenVinoEncoder(source, BACKEND, 1, 2), some_frames(2))
    kept = EncoderSource(
        source.name, source.weights_digest, source.n_features, source.input_shape, not_to_be_built
    )
    assert np.array_equal(encode_now(OpenVinoEncoder(kept, BACKEND, 1, 2), some_frames(2)), first)


def test_windows_of_sound_give_the_same_when_converted_and_when_kept(source) -> None:
    clip = ClipSettings(frame_size_px=SIDE_PX)
    by_sound = spectrogram_source(
        source,
        lambda: load_frame_encoder(LITE0),
        spectrogram_windows(LITE0, clip),
        clip.audio_rate_hz,
        (30.0, 8000.0),
    )
    rng = np.random.default_rng(0)
    windows = [rng.normal(0, 0.1, 32000).astype(np.float32) for _ in range(4)]
    first, again = (encode_now(OpenVinoEncoder(by_sound, BACKEND, 1, 2), windows) for _ in range(2))
    assert np.array_equal(first, again)
    with torch.inference_mode():
        eager = by_sound.load()(torch.from_numpy(np.stack(windows))).numpy()
    assert np.allclose(first.astype(float), eager, atol=2e-3, rtol=2e-3)
    assert cache_path(by_sound) != cache_path(source)


def test_other_weights_are_another_file(source) -> None:
    other = EncoderSource(source.name, "0" * 16, source.n_features, source.input_shape, source.load)
    assert cache_path(source) != cache_path(other)


@pytest.mark.parametrize("ending", [".xml", ".bin", ".sha256"])
def test_a_damaged_file_is_made_anew(source, ending: str) -> None:
    """Of the right size, but with other bytes: parsing would not notice."""
    first = encode_now(OpenVinoEncoder(source, BACKEND, 1, 2), some_frames(1))
    damaged = cache_path(source).with_suffix(ending)
    whole = damaged.read_bytes()
    middle = len(whole) // 2
    damaged.write_bytes(whole[:middle] + bytes(8) + whole[middle + 8 :])
    assert np.array_equal(encode_now(OpenVinoEncoder(source, BACKEND, 1, 2), some_frames(1)), first)
    kept = EncoderSource(
        source.name, source.weights_digest, source.n_features, source.input_shape, not_to_be_built
    )
    assert np.array_equal(encode_now(OpenVinoEncoder(kept, BACKEND, 1, 2), some_frames(1)), first)


def test_a_card_of_another_width_is_refused(source) -> None:
    other = EncoderSource(source.name, source.weights_digest, 7, source.input_shape, source.load)
    with pytest.raises(UserError, match="gives 1280 features, the model was made for 7"):
        OpenVinoEncoder(other, BACKEND, 1, 2)


def test_where_nothing_can_be_kept_it_is_converted_each_time(source, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMEWAVE_CACHE", str(tmp_path / "file"))
    assert encode_now(OpenVinoEncoder(source, BACKEND, 1, 2), some_frames(1)).any()


def test_features_do_not_depend_on_the_number_of_threads(source) -> None:
    one, three = (
        encode_now(OpenVinoEncoder(source, BACKEND, 1, threads), some_frames(5))
        for threads in (1, 3)
    )
    assert np.array_equal(one, three)


def test_the_cache_folder_follows_the_users_own(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("FRAMEWAVE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert openvino_encoder.cache_folder() == tmp_path / "framewave"


def test_any_torchvision_cnn_is_converted(source) -> None:
    resnet = encoder_source(ModelSettings(frame_encoder="resnet18", frame_weights="random"), 64)
    assert encode_now(OpenVinoEncoder(resnet, BACKEND, 1, 2), some_frames(1)).shape == (1, 512)


def test_a_process_that_ends_amid_work_ends_in_order(source) -> None:
    """Frames in flight come back to an interpreter; it must still be there."""
    code = (
        "import threading, time\n"
        "import numpy as np\n"
        "from pipeline.features.backend import Backend\n"
        "from tests.helpers.frames import LITE0\n"
        "from pipeline.features.encoder_weights import encoder_source\n"
        "from pipeline.features.openvino_encoder import OpenVinoEncoder\n"
        "side_px = 640  # slow enough to be amid\n"
        "backend = Backend('openvino', 'cpu', 'float32')\n"
        "encoder = OpenVinoEncoder(encoder_source(LITE0, side_px), backend, 1, 2)\n"
        "holder = threading.Thread(target=lambda _: time.sleep(99), args=(encoder,), daemon=True)\n"
        "holder.start()\n"
        "for _ in range(3):\n"
        "    encoder.submit([np.zeros((3, side_px, side_px), np.uint8)], lambda vectors: None)\n"
        "raise SystemExit(5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 5, done.stderr


def test_what_a_killed_process_left_is_swept_up(source) -> None:
    folder = openvino_encoder.cache_folder()
    folder.mkdir(parents=True)
    old, new = folder / ".1-old.bin", folder / ".2-new.bin"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    OpenVinoEncoder(source, BACKEND, 1, 1)
    assert not old.exists()
    assert new.exists()  # somebody may be writing it


def test_another_wrapping_of_the_cnn_is_another_conversion(source, monkeypatch) -> None:
    before = cache_path(source)
    monkeypatch.setattr(openvino_encoder, "_own_code", lambda: "changed")
    assert cache_path(source) != before


def test_a_changed_backbone_is_converted_anew() -> None:
    """Every module of the registry is part of the cached file's name, also one added later."""
    assert {f"models.backbones.{name}" for name in (*MODULES, "base")} <= set(
        openvino_encoder._HASHED_MODULES
    )
