import numpy as np
import pytest

from pipeline.evaluating.calibration import calibration


def drawn(n: int, shift: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    probability = rng.uniform(0.35, 0.95, n)
    return probability, rng.random(n) < np.clip(probability + shift, 0, 1)


def test_calibrated_probabilities_pass_as_often_as_they_should() -> None:
    found = [calibration(*drawn(200, 0.0, seed)) for seed in range(60)]
    assert np.mean([one.p_value < 0.1 for one in found]) < 0.25
    assert np.mean([one.error for one in found]) < 0.05


@pytest.mark.parametrize("shift", [-0.2, 0.15])
def test_too_sure_and_not_sure_enough_are_found(shift: float) -> None:
    found = calibration(*drawn(400, shift))
    assert found.p_value < 0.01
    assert found.error == pytest.approx(abs(shift), abs=0.08)
    assert np.sign(found.accuracy - found.mean_probability) == np.sign(shift)


def test_the_error_is_that_of_the_definition() -> None:
    probability, right = drawn(100, -0.1)
    order = np.argsort(probability, kind="stable")
    total = 0.0
    for part in np.array_split(order, 10):
        share, n = right[part].mean(), part.size
        total += n / 100 * ((share - probability[part].mean()) ** 2 - share * (1 - share) / (n - 1))
    found = calibration(probability, right)
    assert found.n_bins == 10
    assert found.error == pytest.approx(np.sqrt(max(0, total)))


def test_few_clips_say_nothing() -> None:
    assert calibration(*drawn(19, 0.0)) is None
