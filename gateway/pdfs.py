"""The processes that read PDFs, each for one document at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from countersign.pages import Bounds
from countersign.pdf import PdfProcess
from gateway.problems import Problem


class PdfProcesses:
    """At most `count`, started when they are needed and kept. Close them."""

    def __init__(self, count: int, bounds: Bounds, max_wait_s: float) -> None:
        self._bounds, self._count, self._max_wait_s = bounds, count, max_wait_s
        self._slots = asyncio.Semaphore(count)
        self._idle: list[PdfProcess] = []

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[PdfProcess]:
        """A process of one's own. Raises Problem 429 if none is free within `max_wait_s`."""
        try:
            await asyncio.wait_for(self._slots.acquire(), self._max_wait_s)
        except asyncio.TimeoutError:
            raise Problem(
                429,
                f"busy: {self._count} PDFs are being read, limit {self._count}",
                "urn:countersign:busy",
                retry_after_s=self._max_wait_s,
            ) from None
        try:
            process = self._idle.pop() if self._idle else None
            if process is None or not process.alive:
                process = await asyncio.to_thread(PdfProcess, self._bounds)
            try:
                yield process
            finally:
                if process.alive:
                    self._idle.append(process)
        finally:
            self._slots.release()

    async def warm(self) -> None:
        """Starts one, so that the first document does not wait for it."""
        async with self.lent():
            pass

    def close(self) -> None:
        """Ends those that are idle."""
        while self._idle:
            self._idle.pop().close()
