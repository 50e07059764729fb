"""What ends a call or a connection from outside: a fork or a cancel."""

import asyncio
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Renewable(Protocol):
    """What a fork breaks."""

    def renew(self) -> None:
        """Called in the child, before anything else runs there."""


_ALIVE: "weakref.WeakSet[Renewable]" = weakref.WeakSet()


def renew_after_fork(connection: Renewable) -> None:
    """Calls `connection.renew()` in every child of this process, for as long as it lives."""
    _ALIVE.add(connection)


def _renew_all() -> None:
    for connection in list(_ALIVE):
        connection.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)


class Unforked:
    """Keeps calls and forks apart: a fork waits for calls under way, and new calls for it.

    patience_s  a fork waits no longer; a call then still under way makes its child `split`
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s, self.split = patience_s, False
        self._start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._hold, after_in_parent=self._release, after_in_child=self._begin_child
            )

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around each call."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def _start(self) -> None:
        self._changed = threading.Condition()  # with a lock that a signal's handler may take again
        self._calls = self._forks = 0

    def _hold(self) -> None:
        self._changed.acquire()
        self._forks += 1
        self._changed.wait_for(lambda: not self._calls, self._patience_s)

    def _release(self) -> None:
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def _begin_child(self) -> None:
        self.split = self.split or self._calls > 0
        self._start()


def cancelled() -> bool:
    """Whether the caller asked the current task to end; False if Python cannot tell (3.10)."""
    task = asyncio.current_task()
    return bool(task and getattr(task, "cancelling", int)())
