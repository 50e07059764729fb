"""The two operating points of each class, chosen on labelled pages of several kinds.

accept  the lowest score at which the precision is at least P by the lower end of its 95 % interval
        (Clopper-Pearson) in each pool of kinds, and at no higher score is surely below P
review  the lowest score that still gains: a further mark costs at most COST further false alarms

A detector without a false alarm needs 72 marks for a lower end of 0.95. So kinds with fewer than
LEAST_BOXES boxes are pooled, the two smallest first, until no pool is smaller.

Where no score has that lower end, accept is the lowest score at which the precision as measured is
at least P in each pool. Where pages without marks then have more than ALARMS false alarms a page,
of all classes, the scores rise until they have not, that of the class first which loses least by
it. The rule of a point says which of the three has set it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from training.detector.score import ClassScore

LEAST_BOXES = 90  # of them 72 are a recall of 0.8
ALARMS = 1 / 50
COST = 10
TAIL = 0.025  # on each side of the interval
RULES = ("bound", "measured", "alarms")


@dataclass(frozen=True)
class Accepted:
    """The accept point of a class."""

    threshold: float
    rule: str  # of RULES
    pools: dict[str, dict[str, float | int]]  # kinds that were pooled -> what is reached there


def precision_interval(hits: Any, seen: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ends of Clopper and Pearson's interval, for `hits` of `seen` detections each."""
    hits, missed = np.asarray(hits), np.asarray(seen) - hits
    with np.errstate(invalid="ignore"):
        lower = np.where(hits > 0, beta.ppf(TAIL, hits, missed + 1), 0.0)
        upper = np.where(missed > 0, beta.ppf(1 - TAIL, hits + 1, missed), 1.0)
    return lower, upper


def pools_of(kinds: Mapping[str, ClassScore]) -> dict[str, ClassScore]:
    """The kinds, those with few boxes pooled under all their names."""
    pools = dict(kinds)
    while len(pools) > 1:
        few, more, *_ = sorted(pools, key=lambda name: pools[name].boxes)
        if pools[few].boxes >= LEAST_BOXES:
            break
        pools[f"{more} + {few}"] = pooled([pools.pop(more), pools.pop(few)])
    return pools


def pooled(scores: Sequence[ClassScore]) -> ClassScore:
    """Several sets of documents as one, without an average precision."""
    starts = np.cumsum([0, *(len(score.boxes_of) for score in scores)])
    order = np.argsort(-np.concatenate([score.scores for score in scores]), kind="stable")
    documents = [score.documents + start for score, start in zip(scores, starts, strict=False)]
    return ClassScore(
        ap50=float("nan"),
        ap50_95=float("nan"),
        scores=np.concatenate([score.scores for score in scores])[order],
        hits=np.concatenate([score.hits for score in scores])[order],
        documents=np.concatenate(documents)[order],
        boxes_of=np.concatenate([score.boxes_of for score in scores]),
    )


def counts(pool: ClassScore, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hits and detections at or above each of `scores`."""
    seen = np.searchsorted(-pool.scores, -scores, side="right")
    return np.append(0, pool.hits.cumsum())[seen], seen


def accept(kinds: Mapping[str, ClassScore], precision: float) -> Accepted:
    """The accept point of one class, before false alarms on pages without marks are looked at.

    ValueError with the best precision of the worst pool, if none reaches `precision`.
    """
    pools = pools_of(kinds)
    scores = np.unique(np.concatenate([pool.scores for pool in pools.values()]))[::-1]
    hits, seen = np.swapaxes([counts(pool, scores) for pool in pools.values()], 0, 1)  # (pools, n)
    lower, upper = precision_interval(hits, seen)
    measured = np.where(seen > 0, hits / np.maximum(seen, 1), 1.0)
    holds = np.logical_and.accumulate((upper >= precision).all(axis=0))
    for rule, share in (("bound", lower), ("measured", measured)):
        (enough,) = np.nonzero(holds & (share >= precision).all(axis=0))
        if len(enough):
            threshold = rounded_up(float(scores[enough[-1]]))
            return Accepted(threshold, rule, reached(pools, threshold))
    best = measured.min(axis=0).max(initial=0)
    raise ValueError(f"no score gives a precision of {precision}: the best is {best:.3f}")


def reached(pools: Mapping[str, ClassScore], threshold: float) -> dict[str, dict]:
    """Counts, precision with its interval, and recall in each pool."""
    rows = {}
    for name, pool in pools.items():
        at = pool.at(threshold)
        ends = precision_interval(at["hits"], at["hits"] + at["false_alarms"])
        rows[name] = at | {"interval": [round(float(end), 4) for end in ends]}
    return rows


def with_few_alarms(
    points: Mapping[str, Accepted],
    scores: Mapping[str, Mapping[str, ClassScore]],
    blank: Collection[str],
    pages: int,
) -> dict[str, Accepted]:
    """The points of all classes, raised until the kinds in `blank` have at most ALARMS a page.

    `scores` are those of each class by kind; `blank` have `pages` pages and no box.
    """
    raised, left = dict(points), {}
    for name, kinds in scores.items():
        alarms = np.sort(np.concatenate([kinds[kind].scores for kind in blank]))
        left[name] = alarms[alarms >= raised[name].threshold]
    while sum(map(len, left.values())) > ALARMS * pages:
        above = {name: np.nextafter(alarms[0], 2) for name, alarms in left.items() if len(alarms)}
        name = min(above, key=lambda name: _loss(scores[name], raised[name].threshold, above[name]))
        threshold = rounded_up(float(above[name]))
        raised[name] = Accepted(threshold, "alarms", reached(pools_of(scores[name]), threshold))
        left[name] = left[name][left[name] >= threshold]
    return raised


def _loss(kinds: Mapping[str, ClassScore], threshold: float, higher: float) -> float:
    """The recall that a higher threshold takes."""
    pool = pooled(list(kinds.values()))
    return float(pool.at(threshold)["recall"] - pool.at(higher)["recall"])


def review(kinds: Mapping[str, ClassScore], accepted: float) -> float:
    """The review point of one class, at most its accept point."""
    pool = pooled(list(kinds.values()))
    scores = np.unique(pool.scores)[::-1]
    hits, seen = counts(pool, scores)
    gain = COST * hits - (seen - hits)
    if not len(gain):
        return accepted
    return min(accepted, rounded_up(float(scores[np.flatnonzero(gain == gain.max())[-1]])))


def rounded_up(threshold: float) -> float:
    """To four decimals, never below, since a lower one would answer more."""
    return float(np.ceil(threshold * 1e4) / 1e4)
