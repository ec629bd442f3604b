import pytest

from pipeline.config import load_config
from pipeline.errors import UserError
from pipeline.features import backend
from pipeline.features.backend import Backend, resolve_backend, resolve_device
from pipeline.storage.workspace import EncoderIdentity


def resolved(*overrides: str) -> Backend:
    return resolve_backend(load_config(None, ["device=cpu", *overrides]))


def test_openvino_is_the_rule_on_a_processor() -> None:
    assert resolved().name == "openvino-cpu"
    assert resolved().frames_per_call == 1
    assert resolved("classify.backend=torch").name == "torch-cpu"
    assert "openvino-cpu float32 20" in str(resolved("classify.precision=float32"))


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_where_asked_for_and_the_processor_computes_in_it(monkeypatch, has: bool) -> None:
    monkeypatch.setattr(backend, "_processor_flags", lambda: {"avx512_bf16"} if has else {"avx2"})
    assert resolved().precision == "float32"
    assert resolved("classify.precision=float32").precision == "float32"
    with pytest.raises(UserError, match="is for GPUs"):
        resolved("classify.precision=float16")
    if has:
        assert resolved("classify.precision=bfloat16").precision == "bfloat16"
    else:
        with pytest.raises(UserError, match=r"AVX512-BF16 or AMX\), so .* use float32 or auto"):
            resolved("classify.precision=bfloat16")


def test_bfloat16_is_the_rule_where_it_is_fast(monkeypatch) -> None:
    monkeypatch.setattr(backend, "_processor_flags", lambda: {"avx512_bf16", "amx_bf16"})
    assert resolved() == Backend("openvino", "cpu", "bfloat16")
    assert resolved("classify.precision=float32").precision == "float32"
    assert resolved("classify.backend=torch").precision == "float32"


def test_other_cnns_were_not_tried_in_bfloat16(monkeypatch) -> None:
    monkeypatch.setattr(backend, "_processor_flags", lambda: {"amx_bf16"})
    assert resolved("model.frame_encoder=resnet18").precision == "float32"
    config = load_config(None, ["device=cpu"])
    assert resolve_backend(config, "resnet18").precision == "float32"


@pytest.mark.parametrize(
    ("flags", "begun", "expected"),
    [
        ({"amx_bf16"}, "float32", "float32"),
        ({"avx512_bf16"}, "bfloat16", "bfloat16"),
        ({"avx2"}, "bfloat16", "float32"),  # and the folder's owner is told
    ],
)
def test_what_was_begun_is_continued_in_its_precision(monkeypatch, flags, begun, expected) -> None:
    monkeypatch.setattr(backend, "_processor_flags", lambda: flags)
    identity = EncoderIdentity(
        name="efficientnet_lite2", weights_digest="", n_features=9, backend="openvino-cpu",
        precision=begun,
    )  # fmt: skip
    config = load_config(None, ["device=cpu"])
    assert resolve_backend(config, identity.name, identity).precision == expected
    forced = load_config(None, ["device=cpu", "classify.precision=float32"])
    assert resolve_backend(forced, identity.name, identity).precision == "float32"
    by_torch = identity.model_copy(update={"backend": "torch-cuda", "precision": "float16"})
    assert resolve_backend(config, "resnet18", by_torch).precision == "float32"


def test_torch_where_openvino_is_not_installed(monkeypatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    assert resolved().library == "torch"
    with pytest.raises(UserError, match="not installed"):
        resolved("classify.backend=openvino")


def test_openvino_is_refused_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(backend, "resolve_device", lambda device: "cuda")
    with pytest.raises(UserError, match="add device=cpu"):
        resolved("classify.backend=openvino")
    assert resolved() == Backend("torch", "cuda", "float16")
    assert resolved("classify.precision=bfloat16").precision == "bfloat16"


def test_cuda_is_refused_where_there_is_none() -> None:
    import torch

    if torch.cuda.is_available():
        assert resolve_device("auto") == "cuda"
    else:
        assert resolve_device("auto") == "cpu"
        with pytest.raises(UserError, match="device=cpu"):
            resolve_device("cuda")
