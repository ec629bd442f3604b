"""Sound as pictures: what the pretrained front end's encoder is given."""

from __future__ import annotations

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from models.audio.spectrogram_images import MelPower, SpectrogramEncoder
from models.backbones.frame_encoder import FrameEncoder

RATE_HZ, SIDE_PX, N_SAMPLES = 16000, 64, 32000


def build() -> SpectrogramEncoder:
    torch.manual_seed(0)
    return SpectrogramEncoder(
        FrameEncoder("efficientnet_lite0"), RATE_HZ, SIDE_PX, N_SAMPLES
    ).eval()


def tone(hz: float, loud: float = 9000, seconds: float = 2.0) -> torch.Tensor:
    times_s = torch.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (loud * torch.sin(2 * torch.pi * hz * times_s)).to(torch.float32)[None] / 32768


def test_high_tones_are_on_top_and_later_is_to_the_right() -> None:
    net = build()
    rows = [int(net.images(tone(hz))[0, 0].mean(dim=1).argmax()) for hz in (300, 1000, 4000)]
    assert rows == sorted(rows, reverse=True)
    late = tone(1000)
    late[:, :RATE_HZ] = 0
    columns = net.images(late)[0, 0].amax(dim=0)
    assert columns[: SIDE_PX // 2 - 3].max() < columns[SIDE_PX // 2 + 3 :].min()


def test_pictures_are_grey_and_silence_is_black() -> None:
    pictures = build().images(torch.cat([tone(500, 32000), torch.zeros_like(tone(1))]))
    assert pictures.shape == (2, 1, SIDE_PX, SIDE_PX)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 255
    assert float(pictures[1].max()) < 1


def test_each_window_is_encoded_by_itself() -> None:
    net, windows = build(), torch.cat([tone(500), tone(3000)])
    with torch.inference_mode():
        together = net(windows)
        assert together.shape == (2, net.n_features)
        assert torch.allclose(net(windows[1:])[0], together[1], atol=1e-4)


def test_other_kinds_of_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be float32"):
        build()(tone(500).double())


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100])
def test_mel_power_is_that_of_torchaudio(rate_hz: int) -> None:
    window, hop = round(0.025 * rate_hz), round(0.01 * rate_hz)
    n_fft = 2 * 2 ** (window - 1).bit_length()
    expected = MelSpectrogram(
        sample_rate=rate_hz, n_fft=n_fft, win_length=window, hop_length=hop, f_min=30.0, n_mels=128,
        pad_mode="constant", norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    torch.manual_seed(0)
    windows = 0.1 * torch.randn(2, 2 * rate_hz)
    with torch.autocast("cpu", torch.bfloat16):  # as on a GPU in 16 bits: it is not for power
        power = MelPower(rate_hz, window, hop, n_fft, (30.0, rate_hz // 2))(windows)
    reference = expected(windows).flip(1)
    assert power.shape == reference.shape
    assert torch.allclose(torch.log(power + 1e-6), torch.log(reference + 1e-6), atol=1e-4)


def test_pictures_are_those_of_bilinear_interpolation() -> None:
    net, windows = build(), tone(700)
    bands = torch.log(net.mel(windows) + 1e-6)
    grey = ((bands + 13.8) / 18.8 * 255).clamp(0, 255)
    expected = torch.nn.functional.interpolate(
        grey[:, None], (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False
    )
    assert torch.allclose(net.images(windows), expected, atol=0.51)
    assert torch.equal(net.images(windows), net.images(windows).to(torch.uint8).float())


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="windows"):
        build()(tone(500, seconds=1.0))
