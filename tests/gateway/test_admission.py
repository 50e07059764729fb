"""The queue before the servers, on a clock of its own."""

import asyncio

import pytest

from gateway.admission import Admission
from gateway.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_as_many_are_let_in_as_will_be_answered_in_time():
    clock = Clock()

    async def scene() -> None:
        admission = Admission(2, 3, clock)
        assert admission.limit == 2  # nothing is known of the rate
        for _ in range(5):
            async with admission.page():
                clock.now += 0.5
            clock.now += 100  # without a page the time does not count
        assert admission.limit == 6  # 2 pages a second, 3 s
        go = asyncio.Event()

        async def wait() -> None:
            admission.check()
            async with admission.page():
                await go.wait()

        pages = [asyncio.create_task(wait()) for _ in range(7)]
        await asyncio.sleep(0.01)
        assert (admission.pages, admission.under_way) == (6, 2)
        with pytest.raises(Problem, match="6 pages are waiting or under way, limit 6") as told:
            await pages[6]
        assert told.value.status == 429
        assert told.value.headers["Retry-After"] == "3"
        go.set()
        await asyncio.gather(*pages[:6])
        assert (admission.pages, admission.under_way, admission.refused) == (0, 0, 1)

    asyncio.run(scene())


def test_who_goes_away_leaves_the_queue():
    async def scene() -> None:
        admission = Admission(1, 1)

        async def wait() -> None:
            async with admission.page():
                await asyncio.sleep(60)

        pages = [asyncio.create_task(wait()) for _ in range(3)]
        await asyncio.sleep(0.01)
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        assert (admission.pages, admission.under_way) == (0, 0)

    asyncio.run(scene())
