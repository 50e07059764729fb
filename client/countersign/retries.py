"""How often and how long one call may try."""

import logging
import math
import random
import time
from collections.abc import Callable

from countersign.errors import CountersignError, DeadlineExceeded, Refused, Unavailable

FIRST_PAUSE_S, GROWTH, LAST_PAUSE_S = 0.1, 2, 2.0  # at most, before the next attempt

LOG = logging.getLogger("countersign")


class Attempts:
    """What one call has left of its time, and when it may try again.

    Raises Refused unless `timeout_s` is a number above 0, or None for no deadline.
    """

    def __init__(
        self, timeout_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        limit_s = math.inf if timeout_s is None else timeout_s
        if not isinstance(limit_s, (int, float)) or not limit_s > 0:
            raise Refused(f"timeout_s: {timeout_s!r}, expected seconds above 0, or None")
        self._clock = clock
        self._begin = clock()
        self._limit_s = limit_s
        self._failed = 0

    def left_s(self) -> float | None:
        """Seconds until the deadline, 0 after it, None if there is none."""
        left = self._begin + self._limit_s - self._clock()
        return None if left == math.inf else max(0.0, left)

    def pause_s(self, failure: CountersignError) -> float:
        """Seconds to wait before the next attempt, after `failure` of the last.

        As long as the server says and up to 0.1 s more; if it says nothing, a pause that grows from
        0.1 s to 2 s. Half of that is drawn, so that clients cut off together do not return
        together.
        Raises `failure` if it is not Unavailable, or if the deadline would pass first.
        """
        passed_s = min(self._clock() - self._begin, self._limit_s)
        if isinstance(failure, DeadlineExceeded):
            raise DeadlineExceeded(f"{failure} within {passed_s:.3g} s") from failure
        if not isinstance(failure, Unavailable):
            raise failure
        growing_s = min(FIRST_PAUSE_S * GROWTH ** min(self._failed, 30), LAST_PAUSE_S)
        drawn_s = (FIRST_PAUSE_S if failure.retry_after_s else growing_s) * random.uniform(0.5, 1)
        pause_s = failure.retry_after_s + drawn_s
        self._failed += 1
        left_s = self.left_s()
        if pause_s >= (math.inf if left_s is None else left_s):
            if self._failed == 1:
                raise failure
            raise Unavailable(f"{failure} ({self._failed} attempts)") from failure
        LOG.info("%s; next attempt in %.1f s", failure, pause_s)
        return pause_s
