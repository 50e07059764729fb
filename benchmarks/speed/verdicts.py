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
class Target:
    """What a row is held to."""

    limit: float
    at_most: bool  # else at least
    what: str  # the row in words


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


def read_targets(path: Path = TARGETS) -> dict[str, Target]:
    """The target of each row. ValueError naming the row that has not one limit and its words."""
    targets = {}
    for row, fields in yaml.safe_load(path.read_text()).items():
        if set(fields) not in ({"at_most", "what"}, {"at_least", "what"}):
            raise ValueError(f"{path}: {row}: {sorted(fields)}, at_most or at_least, and what")
        at_most = "at_most" in fields
        limit = fields["at_most" if at_most else "at_least"]
        targets[row] = Target(float(limit), at_most, fields["what"])
    return targets


def against_targets(rows: Rows, targets: Mapping[str, Target]) -> list[Verdict]:
    """The rows that have a target, in the targets' order."""
    return [
        judged(row, rows[row], target.limit, target.at_most)
        for row, target in targets.items()
        if row in rows
    ]


def against_baseline(rows: Rows, baseline: Mapping[str, float]) -> list[Verdict]:
    """The rows of a baseline, where more is worse. KeyError if the run lacks one."""
    return [
        judged(row, rows[row], before * (1 + MARGIN), at_most=True)
        for row, before in baseline.items()
    ]
