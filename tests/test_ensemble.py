import pytest
import torch

from models.classifier import AudioVisualClassifier, ClipBatch, Dimensions
from models.ensemble import Ensemble
from models.settings import ModelSettings

SIZES = Dimensions(6, audio_bands=5, audio_frames_per_step=1, audio_rate_hz=16_000, n_classes=3)
SETTINGS = ModelSettings(
    modalities="both", audio_front_end="log_mel", audio_strides=(1,), head_units=8
)


def member(seed: int) -> AudioVisualClassifier:
    torch.manual_seed(seed)
    return AudioVisualClassifier(SETTINGS, SIZES).eval()


def everywhere(temperature: float) -> dict[str, float]:
    return dict.fromkeys(("all", "picture", "sound"), temperature)


def batch() -> ClipBatch:
    torch.manual_seed(9)
    there = torch.ones(2, 4, dtype=torch.bool)
    return ClipBatch(torch.randn(2, 4, 6), torch.randn(2, 4, 5), there, there, torch.tensor([4, 3]))


def test_one_member_at_temperature_one_answers_as_it_is() -> None:
    net = member(0)
    with torch.no_grad():
        alone, wrapped = net(batch()).softmax(-1), Ensemble([net])(batch()).softmax(-1)
    assert torch.allclose(alone, wrapped, atol=1e-6)


def test_members_are_averaged_by_their_logarithms() -> None:
    nets = [member(k) for k in range(3)]
    with torch.no_grad():
        each = torch.stack([net(batch()).log_softmax(-1) for net in nets])
        found = Ensemble(nets)(batch()).softmax(-1)
    assert torch.allclose(found, each.mean(0).softmax(-1), atol=1e-6)


def test_temperature_changes_certainty_not_the_label() -> None:
    nets = [member(k) for k in range(2)]
    with torch.no_grad():
        plain, cooler = Ensemble(nets)(batch()), Ensemble(nets, everywhere(0.5))(batch())
    assert torch.equal(plain.argmax(-1), cooler.argmax(-1))
    assert (cooler.softmax(-1).amax(-1) > plain.softmax(-1).amax(-1)).all()
    assert torch.allclose(cooler, 2 * plain)


@pytest.mark.parametrize(("members", "temperature"), [([], 1.0), ([0], 0.0), ([0], float("nan"))])
def test_nonsense_is_refused(members, temperature) -> None:
    with pytest.raises(ValueError, match=r"at least one|above 0"):
        Ensemble([member(k) for k in members], everywhere(temperature))


def test_each_clip_has_the_temperature_of_what_it_has() -> None:
    whole = batch()
    seen, heard = (torch.tensor([[a], [b]]).expand(2, 4) for a, b in ((True, True), (True, False)))
    clips = ClipBatch(whole.video, whole.audio, seen, heard, whole.lengths)
    temperatures = {"all": 2.0, "picture": 0.5, "sound": 1.0}
    with torch.no_grad():
        plain, found = Ensemble([member(0)])(clips), Ensemble([member(0)], temperatures)(clips)
    assert torch.allclose(found[0], plain[0] / 2)
    assert torch.allclose(found[1], plain[1] / 0.5)


def test_temperatures_of_other_situations_are_refused() -> None:
    with pytest.raises(ValueError, match="must be given for all, picture, sound, not for all"):
        Ensemble([member(0)], {"all": 1.0})
