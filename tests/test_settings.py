import pytest
from pydantic import ValidationError

from data_prep.settings import ClipSettings, SplitSettings, samples_per_step


@pytest.mark.parametrize(
    ("audio", "frame", "samples"), [(16_000, 1.0, 16_000), (16_000, 0.5, 32_000), (24_000, 6, 4000)]
)
def test_samples_per_step(audio: int, frame: float, samples: int) -> None:
    assert samples_per_step(audio, frame) == samples


def test_rates_that_do_not_divide_name_both_keys_and_rates_that_do() -> None:
    with pytest.raises(ValidationError) as caught:
        ClipSettings(frame_rate_hz=6)
    text = str(caught.value)
    assert "clip.audio_rate_hz" in text
    assert "clip.frame_rate_hz" in text
    assert "clip.audio_rate_hz=16200" in text


def test_suggested_rates_are_accepted() -> None:
    assert ClipSettings(frame_rate_hz=6, audio_rate_hz=16_200).samples_per_step == 2700


def test_split_fractions_leave_room_for_training() -> None:
    with pytest.raises(ValidationError, match=r"split\.val_fraction and split\.test_fraction"):
        SplitSettings(val_fraction=0.4, test_fraction=0.4)


def test_fold_names_may_be_numbers() -> None:
    assert SplitSettings.model_validate({"test_fold": 5}).test_fold == "5"
