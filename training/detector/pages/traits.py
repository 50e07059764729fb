"""Traits of a design, drawn by name."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np


class Traits:
    """What one design is like. Each trait has random numbers of its own, from the seed and its
    name, so that a new trait leaves the others as they were.
    """

    def __init__(self, *seed: int):
        self.seed = seed

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng((*self.seed, crc32(name.encode())))

    def uniform(self, name: str, low: float, high: float) -> float:
        return float(self.rng(name).uniform(low, high))

    def chance(self, name: str, probability: float) -> bool:
        return bool(self.rng(name).random() < probability)

    def one_of(self, name: str, options: Sequence[Any]) -> Any:
        return options[self.rng(name).integers(len(options))]

    def pick(self, name: str, shares: dict[str, float]) -> str:
        return weighted(shares, self.rng(name))


def weighted(shares: dict[str, float], rng: np.random.Generator) -> str:
    """One of the keys, as often as its share of the sum."""
    edges = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
