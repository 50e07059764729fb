"""What ends a call or a connection from outside: a fork or a cancel."""

import asyncio
import os
import weakref
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


def cancelled() -> bool:
    """Whether the caller asked the current task to end; False if Python cannot tell (3.10)."""
    task = asyncio.current_task()
    return bool(task and getattr(task, "cancelling", int)())
