import pytest

from data_prep.manifest import ManifestRow
from data_prep.segments import LabelledSegment
from pipeline.config import load_config
from pipeline.features.samples import LabelledSample, Sample
from pipeline.training.train import FEW_CLIPS, resolve_patience


def clips(n: int, group: str = "", label: str = "a") -> list[LabelledSample]:
    """Of one group, or each its own."""
    sample = Sample(*[None] * 4)  # type: ignore[arg-type]
    return [
        LabelledSample(ManifestRow(path=f"{group}{k}", group=group, label=label), sample)
        for k in range(n)
    ]


@pytest.mark.parametrize(
    ("settings", "n_val", "expected"),
    [
        ([], FEW_CLIPS, 20),
        ([], FEW_CLIPS - 1, None),
        (["train.patience=3"], FEW_CLIPS - 1, 3),
        (["train.patience=null"], FEW_CLIPS, None),
    ],
)
def test_a_few_clips_choose_no_epoch_unless_asked_to(settings, n_val, expected) -> None:
    config = resolve_patience(load_config(None, settings), clips(n_val))
    assert config.train.patience == expected
    assert config.train.max_epochs == 30


def test_many_clips_of_one_source_and_label_are_few() -> None:
    config = load_config(None, [])
    of_one = clips(100, "camera 1")
    assert resolve_patience(config, of_one).train.patience is None
    of_two_labels = [*of_one, *clips(100, "camera 1", "b")]
    assert resolve_patience(config, of_two_labels).train.patience is None
    of_two_cameras = [*of_two_labels, *clips(9, "camera 2"), *clips(9, "camera 2", "b")]
    assert resolve_patience(config, of_two_cameras).train.patience == 20


def test_segments_of_few_files_choose_an_epoch() -> None:
    def files(n: int, n_segments: int) -> list[LabelledSample]:
        parts = tuple(LabelledSegment(k, k + 1, "ab"[k % 2]) for k in range(n_segments))
        return [
            LabelledSample(
                ManifestRow(path=f"{k}", label="a;b", segments=parts), clips(1)[0].sample
            )
            for k in range(n)
        ]

    for task in ("timeline", "forecast"):
        config = load_config(None, [f"task={task}"])
        assert resolve_patience(config, files(2, 10)).train.patience == 20
        assert resolve_patience(config, files(1, 1000)).train.patience is None
    # a list is one example
    assert (
        resolve_patience(load_config(None, ["task=events"]), files(19, 10)).train.patience is None
    )
