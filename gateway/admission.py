"""How many pages are let in, so that who cannot be served soon is told so at once."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.problems import Problem

WINDOW = 64  # pages by which the rate is known


class Rate:
    """Pages answered a second, of the time in which any was under way."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy_s, self._since = 0.0, clock()
        self._ends: deque[float] = deque(maxlen=WINDOW)  # by the busy time

    def begin(self, first: bool) -> None:
        """A page begins, with no other under way if it is the `first`."""
        if first:
            self._since = self._clock()

    def end(self, last: bool) -> None:
        """A page was answered, and none is left if it was the `last`."""
        now = self._clock()
        self._busy_s, self._since = self._busy_s + now - self._since, now
        self._ends.append(self._busy_s)

    @property
    def per_second(self) -> float:
        """0 as long as fewer than two pages were answered."""
        if len(self._ends) < 2:
            return 0.0
        return (len(self._ends) - 1) / max(1e-3, self._ends[-1] - self._ends[0])


class Admission:
    """A queue before the servers: `at_once` pages are under way, and as many wait as will be
    answered within `max_wait_s` at the rate of late."""

    def __init__(
        self, at_once: int, max_wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = asyncio.Semaphore(at_once)  # first come, first served
        self._at_once, self._max_wait_s = at_once, max_wait_s
        self._rate = Rate(clock)
        self.pages = 0  # let in and not yet answered
        self.under_way = 0  # of these, at the servers
        self.refused = 0

    @property
    def limit(self) -> int:
        """Most pages that are let in."""
        return max(self._at_once, int(self._rate.per_second * self._max_wait_s))

    def check(self) -> None:
        """Raises Problem 429, with the time the queue takes, unless one more page is let in."""
        if self.pages >= self.limit:
            self.refused += 1
            wait_s = self.pages / (self._rate.per_second or self._at_once)
            raise Problem(
                429,
                f"busy: {self.pages} pages are waiting or under way, limit {self.limit}",
                "urn:countersign:busy",
                retry_after_s=wait_s,
            )

    @asynccontextmanager
    async def page(self) -> AsyncIterator[None]:
        """Inside, a page is under way at the servers. A page of a document that was let in is not
        checked again; any other is to be checked first."""
        self.pages += 1
        try:
            async with self._slots:
                self._rate.begin(self.under_way == 0)
                self.under_way += 1
                try:
                    yield
                finally:
                    self.under_way -= 1
                    self._rate.end(self.under_way == 0)
        finally:
            self.pages -= 1
