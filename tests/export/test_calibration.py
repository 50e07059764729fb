"""Temperature, threshold and what is expected of a reader's answers."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import binomtest

from export.calibration import (
    fitted_line,
    fitted_temperature,
    operating_point,
    readings,
    round_up,
    temperature_and_point,
    wrong_shares,
)


def texts(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and whether right, of texts whose confidence is what it should be."""
    rng = np.random.default_rng(seed)
    confidence = expit(rng.normal(7, 3, count))
    return confidence, rng.random(count) < confidence


def test_a_confidence_is_the_product_of_the_places_probabilities():
    logits = np.random.default_rng(0).normal(size=(2, 5, 36)).astype(np.float32)
    found, confidence = readings(logits)
    np.testing.assert_array_equal(found, logits.argmax(-1))
    np.testing.assert_allclose(confidence, softmax(logits, axis=-1).max(-1).prod(1), rtol=1e-5)


def test_a_threshold_is_never_rounded_down():
    assert round_up(0.1234561) == 0.123457
    assert round_up(0.5) == 0.5


def test_the_temperature_makes_confidence_the_share_that_is_right():
    """Logits that promise 0.9997 but are right three times in four: T must bring 0.75."""
    logits = torch.zeros(4, 6, 10)
    logits[..., 0] = 10
    labels = torch.zeros(4, 6, dtype=torch.int64)
    labels[0] = 1
    temperature = fitted_temperature(logits, labels)
    sure = torch.softmax(logits[0, 0] / temperature, 0)[0].item()
    assert sure == pytest.approx(0.75, abs=0.01)


def test_a_fitted_line_is_the_one_that_the_texts_were_drawn_from():
    rng = np.random.default_rng(3)
    odds = rng.normal(2, 2, 50_000)
    right = rng.random(50_000) < expit(0.7 * odds - 0.4)
    flat = np.array((10.0, 10.0))
    np.testing.assert_allclose(
        fitted_line(odds, right, np.array((1.0, 0.0)), flat), (0.7, -0.4), atol=0.05
    )
    none = np.empty(0)
    np.testing.assert_allclose(fitted_line(none, none > 0, np.array((1.2, 0.3)), flat), (1.2, 0.3))


def test_what_is_as_sure_as_it_should_be_is_expected_wrong_as_often_as_it_says():
    confidence, right = texts(20_000)
    expected = wrong_shares(confidence, right)
    for low, high in ((0.5, 0.9), (0.9, 0.99), (0.99, 1)):
        rows = (confidence >= low) & (confidence < high)
        assert expected[rows].mean() == pytest.approx(1 - confidence[rows].mean(), rel=0.2)


def test_confidence_that_promises_too_much_is_not_believed():
    confidence, _ = texts(5000)
    right = np.random.default_rng(1).random(5000) < expit(np.log(confidence / (1 - confidence)) / 2)
    expected = wrong_shares(confidence, right)
    assert expected.mean() == pytest.approx(1 - right.mean(), rel=0.1)
    assert expected.mean() > 2 * (1 - confidence).mean()


@pytest.mark.parametrize(("count", "most"), [(500, 0.003), (4000, 0.0015)])
def test_few_texts_give_a_threshold_that_holds_on_others(count, most):
    """Most are answered, and of 100,000 others about as many wrongly as were allowed."""
    others, _ = texts(100_000, seed=99)
    answered, wrong = [], []
    for seed in range(10):
        threshold = operating_point(*texts(count, seed), precision=0.999).threshold
        answered.append((others >= threshold).mean())
        wrong.append(1 - others[others >= threshold].mean())
    assert np.mean(answered) > 0.6  # with the true model 0.74
    assert np.mean(wrong) < most


def test_the_point_says_what_it_rests_on():
    confidence = np.full(100, 0.9)
    right = np.arange(100) > 0  # one wrong
    point = operating_point(confidence, right, precision=0.5)
    assert (point.images, point.answered, point.wrong) == (100, 1.0, 1)
    low = binomtest(99, 100).proportion_ci(0.9, "exact").low  # its lower end is the 95 % bound
    assert point.precision_at_least == pytest.approx(low)


def test_a_precision_out_of_reach_leaves_the_surest_alone():
    confidence = np.linspace(0.2, 0.6, 50)
    point = operating_point(confidence, np.arange(50) % 2 == 0, precision=0.9999)
    assert point.threshold == 0.6
    assert point.answered == 1 / 50


def test_a_reader_that_is_never_right_is_refused():
    with pytest.raises(ValueError, match="none of 3 images is read right"):
        operating_point(np.full(3, 0.9), np.zeros(3, bool), 0.99)


def test_temperature_and_point_are_those_of_the_logits():
    labels = np.random.default_rng(0).integers(0, 10, (300, 6))
    logits = 12 * np.eye(10, dtype=np.float32)[labels]
    temperature, point = temperature_and_point(logits, labels, 0.99)
    assert temperature < 1
    assert (point.images, point.wrong, point.answered) == (300, 0, 1.0)
