import pytest

from data_prep.dataset.manifest import ManifestRow
from pipeline.config import load_config
from pipeline.errors import UserError
from pipeline.preparing.prep import _mirrors, names_a_side
from pipeline.records.workspace import EncoderIdentity, PrepRecord
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
    assert _mirrors(None, config, rows, Silent()) == expected


def test_a_prepared_folder_stays_as_it_is() -> None:
    rows = [ManifestRow("a", label="fox")]
    for mirrored in (True, False):
        config = load_config(None, [])
        assert _mirrors(record(mirrored), config, rows, Silent()) == mirrored
    with pytest.raises(UserError, match="prepared without mirrored frames"):
        _mirrors(record(False), load_config(None, ["train.mirror=always"]), rows, Silent())
