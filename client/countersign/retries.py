"""How often and how long one call may try."""

import random
import time
from collections.abc import Callable

from countersign.errors import CountersignError, DeadlineExceeded, Unavailable

PAUSES_S = (0.1, 0.3, 0.9)  # before the second, third and fourth attempt, at most


class Attempts:
    """What one call has left of its time and its attempts."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s
        self._pauses = iter(PAUSES_S)

    def left_s(self) -> float:
        """Seconds until the deadline, 0 after it."""
        return max(0.0, self._end - self._clock())

    def pause_s(self, failure: CountersignError) -> float:
        """Seconds to wait before the next attempt, after `failure` of the last.

        Half of the pause is drawn, so that clients cut off together do not return together.
        Raises `failure` if it is not one of the connection, or no attempt or time is left.
        """
        if isinstance(failure, DeadlineExceeded):
            raise DeadlineExceeded(f"{failure} within {self._timeout_s:g} s") from failure
        pause = next(self._pauses, None)
        if not isinstance(failure, Unavailable) or pause is None:
            raise failure
        pause *= random.uniform(0.5, 1)
        if pause >= self.left_s():
            raise failure
        return pause
