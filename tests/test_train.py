import pytest

from pipeline.config import load_config
from pipeline.training.train import FEW_CLIPS, settle_patience


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
    config = settle_patience(load_config(None, settings), n_val)
    assert config.train.patience == expected
    assert config.train.max_epochs == 30
