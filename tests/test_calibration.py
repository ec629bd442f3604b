import pytest
import torch

from models.output import ALL_MODALITIES, ClassifierOutput
from pipeline.training.calibration import Calibration, HeldOutOutputs

TARGETS = torch.arange(60) % 3
JOINT = {"joint": 1.0, "picture": 0.0, "sound": 0.0}
JOINT_ALONE = {ALL_MODALITIES: JOINT, "picture": JOINT, "sound": JOINT}


def answer(right: float, seed: int) -> torch.Tensor:
    """Logits that point at the label in a share of clips, elsewhere anywhere."""
    torch.manual_seed(seed)
    logits = torch.randn(60, 3)
    told = torch.rand(60) < right
    logits[told] += 4 * torch.nn.functional.one_hot(TARGETS, 3)[told]
    return logits


def answers(joint: float, picture: float, sound: float, seed: int = 0) -> ClassifierOutput:
    there = torch.ones(60, dtype=torch.bool)
    return ClassifierOutput(
        answer(joint, seed),
        {"picture": answer(picture, seed + 1), "sound": answer(sound, seed + 2)},
        {"picture": there, "sound": there},
    )


def whole(said: ClassifierOutput) -> dict[str, ClassifierOutput]:
    """The same whatever is shown."""
    return {ALL_MODALITIES: said, "picture": said, "sound": said}


def test_an_answer_that_knows_nothing_is_left_out() -> None:
    weights = (
        HeldOutOutputs([whole(answers(0.0, 0.95, 0.0))], TARGETS)
        .calibrate()
        .fusion_weights[ALL_MODALITIES]
    )
    assert weights == {"joint": 0.0, "picture": 1.0, "sound": 0.0}


def test_answers_that_know_different_things_are_averaged() -> None:
    # each points at the label in two thirds of the clips, not in the same ones
    told = torch.nn.functional.one_hot(TARGETS, 3).float()
    part = torch.arange(60) // 3 % 3  # labels repeat every three clips
    each = [torch.where((part != k)[:, None], 2 * told, -2 * told) for k in range(3)]
    there = torch.ones(60, dtype=torch.bool)
    own = {"picture": each[1], "sound": each[2]}
    found = HeldOutOutputs(
        [whole(ClassifierOutput(each[0], own, {"picture": there, "sound": there}))], TARGETS
    )
    assert found.calibrate().fusion_weights[ALL_MODALITIES] == {
        "joint": 1.0,
        "picture": 1.0,
        "sound": 1.0,
    }


def test_networks_are_averaged_and_rows_are_taken_from_all_alike() -> None:
    both = HeldOutOutputs([whole(answers(0.5, 0.5, 0.5, seed)) for seed in (0, 9)], TARGETS)
    judgement = Calibration(JOINT_ALONE, dict.fromkeys(JOINT_ALONE, 2.0))
    each = torch.stack([one.fused.log_softmax(-1) for one in both.all_modalities]).mean(0)
    expected = (each.double() / 2).softmax(-1)
    assert torch.allclose(both.probabilities(judgement), expected)
    some = TARGETS == 1
    assert torch.allclose(both.select(some).probabilities(judgement), expected[some])
    assert both.select(some).targets.tolist() == [1] * 20


def test_scores_are_those_of_the_pooled_answer() -> None:
    one = HeldOutOutputs([whole(answers(1.0, 0.0, 0.0))], TARGETS)
    accuracy, macro_f1 = one.scores(JOINT_ALONE)
    predicted = one.all_modalities[0].fused.argmax(1)
    assert accuracy == pytest.approx((predicted == TARGETS).double().mean().item())
    assert 0.9 < macro_f1 <= 1


def test_what_counts_without_sound_is_chosen_on_clips_shown_without_it() -> None:
    there = torch.ones(60, dtype=torch.bool)
    nothing = {"picture": answer(0.0, 5), "sound": answer(0.0, 6)}
    deaf = ClassifierOutput(answer(0.0, 7), nothing | {"picture": answer(0.95, 8)},
                   {"picture": there, "sound": ~there})  # fmt: skip
    blind = ClassifierOutput(answer(0.95, 9), nothing, {"picture": ~there, "sound": there})
    found = HeldOutOutputs(
        [{ALL_MODALITIES: answers(0.95, 0.0, 0.0), "picture": deaf, "sound": blind}], TARGETS
    )
    weights = found.calibrate().fusion_weights
    assert weights[ALL_MODALITIES] == JOINT
    assert weights["picture"] == {"joint": 0.0, "picture": 1.0, "sound": 0.0}
    assert weights["sound"] == JOINT
    accuracy, _ = HeldOutOutputs([whole(deaf)], TARGETS).scores(weights)
    assert accuracy > 0.9


def test_how_sure_to_be_without_sound_is_chosen_on_clips_shown_without_it() -> None:
    there = torch.ones(60, dtype=torch.bool)
    own = {"picture": 3 * answer(0.3, 8), "sound": answer(0.0, 6)}
    deaf = ClassifierOutput(3 * answer(0.3, 7), own, {"picture": there, "sound": ~there})
    found = HeldOutOutputs([whole(answers(1.0, 0.0, 0.0)) | {"picture": deaf}], TARGETS)
    temperatures = found.calibrate().temperatures
    assert temperatures[ALL_MODALITIES] < 1 < temperatures["picture"]  # sure without reason
    chances = HeldOutOutputs([whole(deaf)], TARGETS).probabilities(found.calibrate())
    assert float(chances.amax(dim=1).mean()) < 0.8


def test_where_no_clip_shows_it_all_answers_count_alike() -> None:
    one = answers(0.9, 0.0, 0.0)
    nowhere = {"picture": torch.zeros(60, dtype=torch.bool), "sound": one.present["sound"]}
    deaf = ClassifierOutput(one.fused, one.unimodal, nowhere)
    weights = (
        HeldOutOutputs([{ALL_MODALITIES: one, "picture": deaf, "sound": one}], TARGETS)
        .calibrate()
        .fusion_weights
    )
    assert set(weights["picture"].values()) == {1.0}
