"""How often something may be started anew in vain, and how long it waits before the next try."""

from dataclasses import dataclass

MOST = 6  # in vain, one after another, after which there is no hope
SHORT_S = 10  # a life that counts as a try in vain
LONGEST_PAUSE_S = 10


@dataclass
class Tries:
    """Those in vain since the last life that was not short."""

    failed: int = 0
    not_before: float = 0.0  # the next, by the clock that `now` is read from

    def failure(self, now: float) -> None:
        """Another in vain: the next has to wait, but for the first, and longer each time."""
        pause_s = min(2.0 ** (self.failed - 1), LONGEST_PAUSE_S) if self.failed else 0.0
        self.failed, self.not_before = self.failed + 1, now + pause_s

    def death(self, now: float, lived_s: float) -> None:
        """The end of a life, which is a failure as well if it was short."""
        if lived_s >= SHORT_S:
            self.failed = 0
        self.failure(now)

    @property
    def hopeless(self) -> bool:
        return self.failed >= MOST
