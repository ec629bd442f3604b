import pytest

from data_prep.dataset.manifest import ManifestRow
from data_prep.status import Status
from pipeline.config import load_config
from pipeline.errors import UserError
from pipeline.preparing.encoding_plan import encodes_mirrored, names_a_side, told_cost
from pipeline.records.workspace import EncoderIdentity, PrepRecord, SoundWindowRecord
from pipeline.reporting import Silent


@pytest.mark.parametrize(
    "label", ["left", "turn_left", "LeftTurn", "hand-right", "gauche", "clockwise spin"]
)
def test_labels_that_name_a_side(label: str) -> None:
    assert names_a_side(label)


@pytest.mark.parametrize("label", ["leftover", "bright", "fox", "copyright", "cleft lip", ""])
def test_labels_that_do_not(label: str) -> None:
    assert not names_a_side(label)


def record(mirrored: bool) -> PrepRecord:
    encoder = EncoderIdentity(
        name="x", weights_digest="0", n_features=4, backend="torch", precision="float32"
    )
    return PrepRecord(clip=load_config(None, []).clip, encoder=encoder, mirrored=mirrored)


@pytest.mark.parametrize(
    ("wish", "label", "expected"),
    [("auto", "fox", True), ("auto", "left", False), ("always", "left", True),
     ("never", "fox", False)],
)  # fmt: skip
def test_mirrored_frames_are_prepared_as_wished(wish: str, label: str, expected: bool) -> None:
    config = load_config(None, [f"train.mirror={wish}"])
    rows = [ManifestRow("a", label=label), ManifestRow("b", label="other")]
    assert encodes_mirrored(None, config, rows, Silent()) == expected


def test_a_prepared_folder_stays_as_it_is() -> None:
    rows = [ManifestRow("a", label="fox")]
    for mirrored in (True, False):
        config = load_config(None, [])
        assert encodes_mirrored(record(mirrored), config, rows, Silent()) == mirrored
    with pytest.raises(UserError, match="prepared without mirrored frames"):
        encodes_mirrored(record(False), load_config(None, ["train.mirror=always"]), rows, Silent())


def test_the_cost_counts_mirrored_frames_and_windows_of_usable_files() -> None:
    rows = [
        ManifestRow("a", duration_s=100.0, has_video=True, has_audio=True),
        ManifestRow("b", duration_s=50.0, has_video=True, has_audio=False),
        ManifestRow("c", duration_s=9.0, has_video=True, status=Status.UNREADABLE),
    ]
    plain = told_cost(record(mirrored=False), rows)
    assert plain == "about 150 calls of the CNN: each frame once"
    windows = SoundWindowRecord(sound_window_s=2.0, sound_hop_s=0.5)
    both = record(mirrored=True).model_copy(update={"sound_windows": windows})
    assert told_cost(both, rows) == (
        "about 500 calls of the CNN: each frame as it is and mirrored, windows of sound"
    )
