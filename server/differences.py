"""How the answers of a version on trial differ from those of the one that is served.

An answer is what tritonserver gives in JSON: each output's values, flat. Intervals are of SURE
standard deviations, since they are looked at again and again: 99.9 % of a single look.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.readiness import OVERLAP_MIN, overlap
from server.repository import DETECTOR, READER

SURE = 3.29
WARM_UP = 20  # pages whose times do not count: a replica that has just started is slower
BATCH = 10  # pages of which the times make one number: those of neighbours are alike
BATCHES_MIN = 10
SURE_OF_TIMES = 4.78  # the same by Student's t, for so few numbers
Answer = Mapping[str, list]
Interval = tuple[float, float]


@dataclass
class Mean:
    """The mean of numbers that come one by one, and where it may lie."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, number: float) -> None:
        self.count, self.total = self.count + 1, self.total + number
        self.squares += number * number

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def interval(self, sure: float = SURE) -> Interval:
        """Infinite for fewer than two numbers."""
        if self.count < 2:
            return -math.inf, math.inf
        variance = max(0.0, self.squares - self.total**2 / self.count) / (self.count - 1)
        half = sure * math.sqrt(variance / self.count)
        return self.mean - half, self.mean + half


def share_interval(hits: int, count: int) -> Interval:
    """Where the share lies of which `hits` of `count` are a sample (Wilson, 1927); [0, 1]."""
    if not count:
        return 0.0, 1.0
    share, spread = hits / count, SURE**2 / count
    middle = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


@dataclass
class Differences:
    """Of pages that both versions were asked. A CAPTCHA is a page as well."""

    pages: int = 0  # that both answered
    other_verdict: int = 0  # of these
    kept: Counter[str] = field(default_factory=Counter)  # boxes that both found, by class
    gained: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    shift: Mean = field(default_factory=Mean)  # of the scores of boxes that both found
    slower: Mean = field(default_factory=Mean)  # logarithm of the times' ratio, of each batch
    _timed: int = 0
    _batch: Mean = field(default_factory=Mean)

    def add(self, kind: str, before: Answer, after: Answer) -> None:
        """Two answers of an ensemble of that kind to one page."""
        self.pages += 1
        self.other_verdict += verdict(kind, before) != verdict(kind, after)
        if kind == DETECTOR:
            found, missed = matched(before, after)
            for label, shift in found:
                self.kept[label] += 1
                self.shift.add(shift)
            self.lost.update(missed)
            new = Counter(after["labels"])
            new.subtract(label for label, _ in found)
            self.gained.update(+new)
        elif kind == READER:
            self.shift.add(after["confidence"][0] - before["confidence"][0])

    def took(self, before_s: float, after_s: float) -> None:
        """How long both took for a page."""
        self._timed += 1
        if self._timed <= WARM_UP:
            return
        self._batch.add(math.log(after_s / before_s))
        if self._batch.count == BATCH:
            self.slower.add(self._batch.mean)
            self._batch = Mean()


def verdict(kind: str, answer: Answer) -> object:
    """What an answer comes to: the classes that are on the page, or the text if it is certain."""
    if kind == DETECTOR:
        return frozenset(answer["labels"])
    if kind == READER:
        certain = answer.get("certain", [True])[0]
        return answer["text"][0] if certain else None
    return None


def matched(before: Answer, after: Answer) -> tuple[list[tuple[str, float]], list[str]]:
    """Class and shift of score of each box that both have, and the classes of those lost.

    Each box takes the one of its class that it overlaps most, the best score first.
    """
    free = dict(enumerate(zip(boxes(after), after["labels"], after["scores"], strict=True)))
    both, lost = [], []
    for box, label, score in zip(boxes(before), before["labels"], before["scores"], strict=True):
        overlaps = {
            i: overlap(box, other) for i, (other, known, _) in free.items() if known == label
        }
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < OVERLAP_MIN:
            lost.append(label)
        else:
            both.append((label, free.pop(best)[2] - score))
    return both, lost


def boxes(answer: Answer) -> list[list[float]]:
    flat = answer["boxes"]
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]
