"""Things that wait to be done, within a bound."""

from collections import deque
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """A queue whose things together have a size of at most `most`; for any number of threads.

    One alone may be larger. What is taken stays in it until it is done.
    """

    def __init__(self, most: int):
        self.most = most
        self.size = 0
        self._things: deque[tuple[T, int]] = deque()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: T, size: int) -> bool:
        """Whether there was room for it."""
        with self._lock:
            if self._things and self.size + size > self.most:
                return False
            self._things.append((thing, size))
            self.size += size
            return True

    def first(self, size: int) -> list[T]:
        """The oldest things, at least one if there are any, of at most that size together."""
        some: list[T] = []
        with self._lock:
            for thing, thing_size in self._things:
                size -= thing_size
                if some and size < 0:
                    break
                some.append(thing)
        return some

    def done(self, count: int) -> None:
        """The oldest `count` things are done."""
        with self._lock:
            for _ in range(count):
                self.size -= self._things.popleft()[1]
