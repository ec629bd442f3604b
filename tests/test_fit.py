import pytest

from models.settings import ModelSettings
from pipeline.config import TrainSettings
from pipeline.training.fit import settle_mirror
from tests.test_card import card


@pytest.mark.parametrize(
    ("blocks", "labels", "asked", "expected"),
    [
        (2, ("turns_left", "turns_right"), "auto", "never"),
        (2, ("turns_left", "turns_right"), "always", "always"),
        (2, ("fox", "badger"), "auto", "auto"),
        (0, ("turns_left", "turns_right"), "auto", "auto"),  # prep has left them out
    ],
)
def test_a_tuned_encoder_sees_no_frame_in_a_mirror_where_labels_name_sides(
    blocks, labels, asked, expected
) -> None:
    model = ModelSettings(modalities="both", trainable_blocks=blocks, audio_front_end="log_mel")
    settled = settle_mirror(TrainSettings(mirror=asked), card(labels=labels, model=model))
    assert settled == TrainSettings(mirror=expected)
