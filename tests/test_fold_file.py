import torch

from models.answers import Answers
from pipeline.crossvalidation.fold_file import FoldFile, fold_path, read_fold, write_fold


def test_round_trip_and_damage(tmp_path) -> None:
    said = {
        situation: Answers(
            torch.randn(3, 2),
            {"sound": torch.randn(3, 2)},
            {"sound": torch.tensor([True, False, True])},
        )
        for situation in ("all", "sound")
    }
    fold = FoldFile({"a.b": torch.randn(4), "n": torch.tensor(3)}, ["x", "y", "z"], said)
    path = fold_path(tmp_path / "fold-0-seed-0", 4)
    path.parent.mkdir()
    write_fold(path, fold)
    found = read_fold(path)
    assert found.ids == ["x", "y", "z"]
    assert found.state.keys() == fold.state.keys()
    assert all(torch.equal(found.state[name], fold.state[name]) for name in fold.state)
    assert found.said.keys() == said.keys()
    for situation, answers in said.items():
        one = found.said[situation]
        assert torch.equal(one.joint, answers.joint)
        assert torch.equal(one.own["sound"], answers.own["sound"])
        assert torch.equal(one.present["sound"], answers.present["sound"])
    path.write_bytes(path.read_bytes()[:-5])
    assert read_fold(path) is None
    assert read_fold(tmp_path / "nowhere") is None


def test_a_network_of_all_clips_has_no_answers(tmp_path) -> None:
    path = fold_path(tmp_path, 30)
    write_fold(path, FoldFile({"a": torch.ones(1)}))
    assert not read_fold(path).said
