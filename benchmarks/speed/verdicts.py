"""Whether a run's figures keep their targets, and have not grown over a stored baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

TARGETS = Path(__file__).with_name("targets.yaml")
MARGIN = 0.08  # growth over the baseline that is no regression: runs differ by that much
LEVEL = 0.99  # of the confidence interval
RESAMPLES = 2000

Rows = Mapping[str, Sequence[float]]  # name -> its figure in each block of the run


@dataclass(frozen=True)
class Verdict:
    """One row judged: its median, the interval of it, and what it is held to."""

    row: str
    value: float
    low: float
    high: float
    limit: float
    at_most: bool  # else at least
    state: str  # kept, unsure (the limit lies inside the interval) or broken

    @property
    def beyond(self) -> float:
        """By how much of the limit it is missed; negative if it is kept."""
        return (self.value / self.limit - 1) * (1 if self.at_most else -1)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the median at LEVEL; (value, value) of a single one."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.asarray(values, float), (RESAMPLES, len(values)))
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(np.median(drawn, axis=1), (tail, 100 - tail))
    return float(low), float(high)


def judged(row: str, values: Sequence[float], limit: float, at_most: bool) -> Verdict:
    """Broken if the whole interval lies beyond the limit, kept if the whole of it does not."""
    low, high = interval(values)
    misses = (low > limit, high > limit) if at_most else (high < limit, low < limit)
    state = "broken" if misses[0] else "unsure" if misses[1] else "kept"
    return Verdict(row, float(np.median(values)), low, high, limit, at_most, state)


def read_targets(path: Path = TARGETS) -> dict[str, dict]:
    """Row -> at_most or at_least, and what it says."""
    return yaml.safe_load(path.read_text())


def against_targets(rows: Rows, targets: Mapping[str, dict]) -> list[Verdict]:
    """The rows that have a target, in the targets' order."""
    return [
        judged(row, rows[row], own[side], side == "at_most")
        for row, own in targets.items()
        for side in ("at_most", "at_least")
        if row in rows and side in own
    ]


def against_baseline(rows: Rows, baseline: Mapping[str, float]) -> list[Verdict]:
    """The rows of a baseline, where more is worse. KeyError if the run lacks one."""
    return [judged(row, rows[row], own * (1 + MARGIN), True) for row, own in baseline.items()]
