"""How sure a reader may be of its answers: temperature, threshold, and what they rest on."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, softmax
from scipy.stats import beta
from torch import Tensor
from torch.nn.functional import cross_entropy

# Mean and deviation of slope and offset of the line in `wrong_shares`: those of five portals, 500
# images each (benchmarks.captcha_portals.calibration). Slopes are 0.84 to 1.40, offsets -0.63 to 0.
PRIOR_SLOPE = (1.1, 0.2)
PRIOR_OFFSET = (-0.25, 0.25)
DRAWS = 500  # of the slope and the offset
LEVEL = 0.95  # of intervals


@dataclass(frozen=True)
class OperatingPoint:
    """From which confidence on answers count, and what is expected of them."""

    threshold: float
    images: int  # that it rests on
    answered: float  # share of these
    wrong: int  # of the answered
    expected_wrong: float  # share of answers, by the model of `wrong_shares`
    precision_at_least: float  # lower end of the interval, from `images` and `wrong` alone


def readings(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, places, signs) calibrated logits -> (N, places) signs and (N,) confidence in the text."""
    return logits.argmax(-1), softmax(logits, axis=-1).max(-1).prod(-1)


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T that gives logits / T the lowest cross-entropy (Guo et al., arXiv 1706.04599)."""

    def loss(log_temperature: float) -> float:
        scaled = logits.flatten(0, 1) / np.exp(log_temperature)
        return cross_entropy(scaled, labels.flatten()).item()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def round_up(threshold: float) -> float:
    """To six decimals, never below, since a lower one would answer more."""
    return float(np.ceil(threshold * 1e6) / 1e6)


def log_odds(confidence: np.ndarray) -> np.ndarray:
    """Of (N,) confidence in (0, 1], which counts as 1 - 1e-7 at most."""
    return np.log(confidence) - np.log1p(-np.clip(confidence, 0, 1 - 1e-7))


def fitted_line(
    odds: np.ndarray, right: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
    """(2,) slope and offset of the log-odds of `right` over `odds`, both (N,): the likeliest.

    mean and deviation (2,) are those of the normal prior of both.
    """
    sides = np.where(right, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        fit = np.logaddexp(0, -sides * (weights[0] * odds + weights[1])).sum()
        return float(fit + 0.5 * np.square((weights - mean) / deviation).sum())

    return minimize(loss, mean, method="Nelder-Mead").x


def wrong_shares(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(N,) for each text the probability that it is wrong, smoothed over all texts.

    A logistic regression on the confidence's log-odds, whose prior is how readers of other portals
    turned out. The mean over its posterior (Laplace), not its peak: few texts, more doubt.
    """
    odds = log_odds(confidence)
    inputs = np.column_stack([odds, np.ones_like(odds)])
    mean, deviation = np.array([PRIOR_SLOPE, PRIOR_OFFSET]).T
    peak = fitted_line(odds, right, mean, deviation)
    share = expit(inputs @ peak)
    information = (inputs * (share * (1 - share))[:, None]).T @ inputs + np.diag(deviation**-2)
    draws = np.random.default_rng(0).multivariate_normal(peak, np.linalg.inv(information), DRAWS)
    return expit(-(inputs @ draws.T)).mean(1)


def operating_point(confidence: np.ndarray, right: np.ndarray, precision: float) -> OperatingPoint:
    """The lowest confidence from which on at most 1 - `precision` of answers are expected wrong.

    confidence (N,) in [0, 1], right (N,) bool, of texts that the reader did not learn from. Where
    even the surest are expected wrong too often, only those are answered. ValueError if none is
    right.
    """
    if not right.any():
        raise ValueError(f"none of {len(right)} images is read right: nothing to calibrate on")
    order = np.argsort(-confidence, kind="stable")
    expected = wrong_shares(confidence, right)[order].cumsum() / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(expected <= 1 - precision)
    last = enough[-1] if len(enough) else 0
    threshold = round_up(float(confidence[order][last]))
    answered = confidence >= threshold
    count, wrong = int(answered.sum()), int((answered & ~right).sum())
    return OperatingPoint(
        threshold,
        len(right),
        count / len(right),
        wrong,
        float(expected[max(count - 1, 0)]),
        float(beta.ppf(1 - LEVEL, count - wrong, wrong + 1)) if count > wrong else 0.0,
    )


def temperature_and_point(
    logits: np.ndarray, labels: np.ndarray, precision: float
) -> tuple[float, OperatingPoint]:
    """Both, of raw logits (N, places, signs) and labels (N, places) of held-out images."""
    temperature = fitted_temperature(torch.from_numpy(logits), torch.from_numpy(labels))
    found, confidence = readings(logits / temperature)
    return temperature, operating_point(confidence, (found == labels).all(1), precision)
