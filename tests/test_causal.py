"""clip.causal: a step knows nothing later than its own end, from the file to the network, to the
bit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.audio.audio_reader import resampler_reach
from data_prep.settings import ClipSettings
from models.audio.front_end import AudioFrontEnd
from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.settings import ModelSettings
from models.shapes import length_mask
from pipeline.checkpoints.checkpoint import build_front_end
from pipeline.checkpoints.model_card import ModelCard
from pipeline.features.spectrogram_windows import WindowCutter, spectrogram_windows
from pipeline.training.training_data import open_prepared
from tests.conftest import framewave

RATE_HZ, PER_STEP = 8000, 2000
CHANGES_S = 5.0  # from here on the two files differ


def write_recording(path: Path, seed: int, rate_hz: int, channels: int = 1) -> None:
    """Ten seconds of noise, uncompressed and in key frames: no encoder mixes earlier and later."""
    same, other = np.random.default_rng(1), np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=10, options={"qmin": "3", "qmax": "3"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuvj420p"
        audio = container.add_stream(
            "pcm_s16le", rate=rate_hz, layout="mono" if channels == 1 else "stereo"
        )
        for number in range(100):
            rng = same if number < 10 * CHANGES_S else other
            picture = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(video.encode(frame))
            # the later part is louder than full scale allows for the earlier one
            loud = 300 if rng is same else 30_000
            block = rng.integers(-loud, loud, (1, rate_hz // 10 * channels), dtype=np.int16)
            if channels == 2 and rng is other:
                block[0, 1::2] = -0.98 * block[0, ::2]  # its channels cancel each other
            sound = av.AudioFrame.from_ndarray(block, "s16", audio.layout.name)
            sound.sample_rate, sound.pts = rate_hz, number * (rate_hz // 10)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 1), (8000, 2)])
def test_the_future_of_a_file_changes_no_earlier_feature(tmp_path, rate_hz, channels) -> None:
    data = tmp_path / "labels.csv"
    lines = ["path,label,split"]
    for split in ("train", "val", "test"):
        for seed in (2, 3):
            write_recording(tmp_path / f"{split}_{seed}.mkv", seed, rate_hz, channels)
            lines.append(f"{split}_{seed}.mkv,seed {seed},{split}")
    data.write_text("\n".join(lines))
    features = {}
    for causal in ("true", "false"):
        work = tmp_path / f"work_{causal}"
        framewave(
            "prep", data, "--work", work, f"clip.causal={causal}", "clip.frame_rate_hz=2",
            "model.frame_encoder=efficientnet_lite0", "train.mirror=never",
        )  # fmt: skip
        prepared = open_prepared(work)
        front_end = build_front_end(
            ModelCard(
                labels=("a", "b"), clip=prepared.record.clip, encoder=prepared.record.encoder,
                model=ModelSettings(modalities="both"),
            )
        )  # fmt: skip
        items = prepared.samples(["train"], front_end)
        of_file = {Path(item.row.path).name: item.sample for item in items}
        features[causal] = [of_file[f"train_{seed}.mkv"] for seed in (2, 3)]
    n = int(CHANGES_S * 2)
    one, other = features["true"]
    assert torch.equal(one.video[:n], other.video[:n])
    assert torch.equal(one.audio[:n], other.audio[:n])
    assert not torch.equal(one.audio[n:], other.audio[n:])
    assert not torch.equal(one.video[n:], other.video[n:])
    assert bool(one.audio_mask.all())
    # the test can fail: without the setting the sound windows reach over the change
    one, other = features["false"]
    assert not torch.equal(one.audio[:n], other.audio[:n])


@given(from_hz=st.integers(8000, 96_000), to_hz=st.sampled_from([8000, 16_000, 48_000]))
def test_the_sound_is_later_by_at_most_a_few_milliseconds(from_hz: int, to_hz: int) -> None:
    reach = resampler_reach(from_hz, to_hz)
    assert (reach == 0) == (from_hz == to_hz)
    assert reach <= to_hz * 17 / min(from_hz, to_hz) + 1


def network(kind: str, **changes):
    torch.manual_seed(0)
    model = ModelSettings(
        audio_channels=8, audio_features=6, picture_features=7, head_units=8, mel_bins=8,
        modalities="both", audio_front_end=kind, sound_hop_s=PER_STEP / RATE_HZ / 2, **changes,
    )  # fmt: skip
    front_end = AudioFrontEnd(model, RATE_HZ, PER_STEP, 4, causal=True)
    sizes = Dimensions(5, front_end.n_bands, front_end.frames_per_step, RATE_HZ, 3, causal=True)
    return AudioVisualClassifier(model, sizes).eval(), front_end


@pytest.mark.parametrize("kind", ["waveform", "log_mel", "pretrained"])
@settings(max_examples=15)
@given(
    head=st.sampled_from(["gru", "lstm", "layer_norm_gru", "dilated", "mean"]),
    changed=st.integers(1, 11), motion=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_later_steps_change_no_earlier_output_of_the_network(
    kind: str, head: str, changed: int, motion: bool, seed: int
) -> None:
    net, front_end = network(kind, head=head, motion=motion)
    rng = torch.Generator().manual_seed(seed)
    n, per_step = 12, front_end.inputs_per_step

    def steps_of(video, audio, video_mask, audio_mask):
        batch = ClipBatch(video, front_end(audio), video_mask, audio_mask, torch.tensor([n]))
        with torch.inference_mode():
            return net.temporal(net.fuse(batch).fused, batch.lengths)

    def some(*shape: int):
        return torch.randn(*shape, generator=rng)

    audio = some(1, n * per_step, 4) if front_end.takes_windows else some(1, n * per_step)
    inputs = [some(1, n, 5), audio, some(1, n) > -1, some(1, n) > -1]
    before = steps_of(*inputs)
    later = [value.clone() for value in inputs]
    later[0][:, changed:] = some(1, n - changed, 5)
    later[1][:, changed * per_step :] = some(*later[1][:, changed * per_step :].shape)
    later[2][:, changed:] = ~later[2][:, changed:]
    assert length_mask(torch.tensor([n]), n).all()
    after = steps_of(*later)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed:], after[:, changed:])


def test_causal_windows_end_with_their_hop() -> None:
    clip = ClipSettings(causal=True, frame_rate_hz=2, audio_rate_hz=8000)
    windows = spectrogram_windows(ModelSettings(sound_window_s=2), clip)
    assert windows.first + windows.length == windows.hop == 4000
    assert WindowCutter(windows)._next == -12_000


def test_causal_windows_are_shorter_unless_their_length_is_given() -> None:
    def length(causal: bool, **changes) -> int:
        return spectrogram_windows(ModelSettings(**changes), ClipSettings(causal=causal)).length

    assert length(False) == 32_000
    assert length(True) == 16_000
    assert length(True, sound_window_s=2) == length(False, sound_window_s=2) == 32_000


@pytest.mark.parametrize(
    ("settings_", "says"),
    [
        ({"audio_channel": "loudest"}, "clip.audio_channel=loudest knows the whole clip"),
        ({"frame_tolerance_s": 0.2}, "clip.frame_tolerance_s=0.2 allows frames after the middle"),
    ],
)
def test_settings_that_look_ahead_are_refused(settings_, says) -> None:
    with pytest.raises(ValueError, match=says):
        ClipSettings(causal=True, **settings_)
    assert ClipSettings(causal=True).tolerance_s == 0
