import pytest

from data_prep.manifest import ManifestRow
from data_prep.status import Status
from pipeline.config import load_config
from pipeline.errors import UserError
from pipeline.prep.prep_plan import encodes_mirrored, estimate_work, has_side_word
from pipeline.reporter import SilentReporter
from pipeline.storage.workspace import EncoderIdentity, PrepRecord, SoundWindowRecord, with_task


@pytest.mark.parametrize(
    "label", ["left", "turn_left", "LeftTurn", "hand-right", "gauche", "clockwise spin"]
)
def test_labels_that_name_a_side(label: str) -> None:
    assert has_side_word(label)


@pytest.mark.parametrize("label", ["leftover", "bright", "fox", "copyright", "cleft lip", ""])
def test_labels_that_do_not(label: str) -> None:
    assert not has_side_word(label)


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
    assert encodes_mirrored(None, config, rows, SilentReporter()) == expected


def test_a_prepared_folder_stays_as_it_is() -> None:
    rows = [ManifestRow("a", label="fox")]
    for mirrored in (True, False):
        config = load_config(None, [])
        assert encodes_mirrored(record(mirrored), config, rows, SilentReporter()) == mirrored
    with pytest.raises(UserError, match="prepared without mirrored frames"):
        encodes_mirrored(
            record(False), load_config(None, ["train.mirror=always"]), rows, SilentReporter()
        )


def test_the_cost_counts_mirrored_frames_and_windows_of_usable_files() -> None:
    rows = [
        ManifestRow("a", duration_s=100.0, has_video=True, has_audio=True),
        ManifestRow("b", duration_s=50.0, has_video=True, has_audio=False),
        ManifestRow("c", duration_s=9.0, has_video=True, status=Status.UNREADABLE),
    ]
    clip = record(False).clip
    plain = estimate_work(clip, False, None, rows).text()
    assert plain == "about 150 calls of the CNN: each frame once"
    windows = SoundWindowRecord(sound_window_s=2.0, sound_hop_s=0.5)
    assert estimate_work(clip, True, windows, rows).text() == (
        "about 500 calls of the CNN: each frame as it is and mirrored, audio windows"
    )
    faster = clip.model_copy(update={"frame_rate_hz": 10.0})
    assert estimate_work(faster, False, None, rows).calls == 1500
    heard = [ManifestRow("a", duration_s=100.0, has_video=False, has_audio=True)]
    assert estimate_work(clip, True, None, heard).text() == ""  # nothing for the CNN to do
    assert estimate_work(clip, True, windows, heard).text() == (
        "about 200 calls of the CNN: audio windows"
    )


def test_the_time_grows_with_what_there_is_to_do() -> None:
    rows = [ManifestRow("a", duration_s=3600.0, has_video=True, has_audio=True)]
    clip = record(False).clip
    once = estimate_work(clip, False, None, rows).minutes("efficientnet_lite2", 2)
    both = estimate_work(clip, True, None, rows).minutes("efficientnet_lite2", 2)
    small = estimate_work(clip, True, None, rows).minutes("efficientnet_lite0", 2)
    assert once[0] < once[1]
    assert all(a < b for a, b in zip(once, both, strict=True))
    assert all(a < b for a, b in zip(small, both, strict=True))


def test_the_task_is_that_of_the_folder_and_another_one_is_refused(tmp_path) -> None:
    prepared = record(False).model_copy(update={"asked": {"task.name": "timeline"}})
    assert with_task(load_config(None, []), prepared, tmp_path).task.name == "timeline"
    for asked in ("clip_label", "other"):  # the default too, if it is asked for
        with pytest.raises(UserError, match=f"prepared for task=timeline, not task={asked}"):
            with_task(load_config(None, [f"task={asked}"]), prepared, tmp_path)
    asked = load_config(None, ["task=timeline"])
    assert with_task(asked, prepared, tmp_path).task.name == "timeline"
