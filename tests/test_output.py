""" """

from __future__ import annotations

import pytest
import torch

from models.output import ClassifierOutput, fit_temperature, select_fusion_weights


def answers(joint, picture, sound, has_audio=True) -> ClassifierOutput:
    own = {"picture": torch.tensor([picture]), "sound": torch.tensor([sound])}
    present = {"picture": torch.tensor([True]), "sound": torch.tensor([has_audio])}
    return ClassifierOutput(torch.tensor([joint]), own, present)


def everywhere(joint: float, picture: float, sound: float) -> dict[str, dict[str, float]]:
    weights = {"joint": joint, "picture": picture, "sound": sound}
    return dict.fromkeys(("all", "picture", "sound"), weights)


def test_the_average_is_of_log_probabilities() -> None:
    one = answers([2.0, 0.0], [0.0, 1.0], [0.0, 0.0])
    parts = [torch.tensor([p]).log_softmax(-1) for p in ([2.0, 0.0], [0.0, 1.0], [0.0, 0.0])]
    assert torch.allclose(one.combined(everywhere(1, 1, 1)), sum(parts) / 3)
    assert torch.allclose(one.combined(everywhere(1, 0, 3)), (parts[0] + 3 * parts[2]) / 4)


def test_where_nothing_with_a_weight_counts_the_joint_answer_stands() -> None:
    one = answers([2.0, 0.0], [0.0, 1.0], [0.0, 9.0], has_audio=False)
    expected = torch.tensor([[2.0, 0.0]]).log_softmax(-1)
    assert torch.allclose(one.combined(everywhere(0, 0, 1)), expected)


def test_what_is_missing_has_no_weight() -> None:
    clips = answers([0.0, 3.0], [0.0, 3.0], [0.0, 3.0], has_audio=False)
    found = select_fusion_weights([clips], torch.tensor([1]), "picture")
    assert found == {"joint": 1.0, "picture": 1.0, "sound": 0.0}


def test_the_answers_that_are_right_are_chosen() -> None:
    """Picture and joint know nothing or the wrong, sound is right."""
    clips = ClassifierOutput.concat([
        answers([0.0, 0.0], [3.0, 0.0], [0.0, 3.0]),
        answers([0.0, 0.0], [0.0, 3.0], [3.0, 0.0]),
    ])  # fmt: skip
    assert select_fusion_weights([clips], torch.tensor([1, 0])) == {
        "joint": 0.0,
        "picture": 0.0,
        "sound": 1.0,
    }


def test_among_equals_all_are_averaged() -> None:
    clips = [answers([0.0, 3.0], [0.0, 3.0], [0.0, 3.0])]
    assert set(select_fusion_weights(clips, torch.tensor([1])).values()) == {1.0}


def test_each_clip_is_answered_by_what_counts_in_its_situation() -> None:
    def named(modality: str) -> dict[str, float]:
        return {name: float(name == modality) for name in ("joint", "picture", "sound")}

    weights = {"all": named("joint"), "picture": named("picture"), "sound": named("sound")}
    logits = [[9.0, 0.0, 0.0]], [[0.0, 9.0, 0.0]], [[0.0, 0.0, 9.0]]
    for seen, heard, expected in ((1, 1, 0), (1, 0, 1), (0, 1, 2), (0, 0, 0)):
        joint, picture, sound = (torch.tensor(row) for row in logits)
        present = {"picture": torch.tensor([bool(seen)]), "sound": torch.tensor([bool(heard)])}
        one = ClassifierOutput(joint, {"picture": picture, "sound": sound}, present)
        assert int(one.combined(weights).argmax()) == expected


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4000, 5) * 3
    targets = torch.distributions.Categorical(logits=logits / true).sample()
    assert fit_temperature(logits, targets) == pytest.approx(true, rel=0.06)


def test_few_clips_all_right_prove_no_certainty() -> None:
    logits = torch.tensor([[2.0, 0.0]]).repeat(12, 1)
    found = fit_temperature(logits, torch.zeros(12, dtype=torch.int64))
    assert 0.3 < found < 1  # surer, but the most likely temperature alone would be 0
