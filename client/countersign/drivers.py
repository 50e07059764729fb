"""The drivers of `calls`: one does the steps of a call here and now, the other awaits them."""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from itertools import islice
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_args

from countersign.calls import Batch, Encode, Make, Pause, Step, Steps
from countersign.errors import CountersignError, without_frames
from countersign.images import encoded
from countersign.messages import NO_HEADERS, Request

P = ParamSpec("P")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Call = TypeVar("Call")


class Connection(Protocol):
    """A way to the server, for any number of threads."""

    def send(self, request: Request, timeout_s: float | None) -> Any:
        """The reply. Raises CountersignError."""

    def pause(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Closed."""

    def close(self) -> None:
        """Calls under way, and those to come, raise Closed."""


class AsyncConnection(Protocol):
    """The same inside one event loop."""

    async def send(
        self, request: Request, timeout_s: float | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> Any:
        """The reply; `headers` go with this request beside the address's own."""

    async def pause(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Connected(Protocol):
    """`Client`, as far as its methods need it."""

    _connection: Connection


class AsyncConnected(Protocol):
    """`AsyncClient`, as far as its methods need it."""

    _connection: AsyncConnection


def run(steps: Steps[Answer], connection: Connection) -> Answer:
    """What `steps` return, or raise."""

    def done(step: Step) -> Any:
        if isinstance(step, Encode):
            return encoded(step.image)
        if isinstance(step, Make):
            return step.function()
        if isinstance(step, Pause):
            return connection.pause(step.seconds)
        return connection.send(step.request, step.timeout_s)

    def driven() -> None:
        step = next(steps)
        while True:
            try:
                result = done(step)
            except CountersignError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)

    try:
        driven()
        raise AssertionError("steps end by StopIteration")
    except StopIteration as end:
        return end.value
    except CountersignError as error:
        raise without_frames(error)  # noqa: B904, its cause is the one it has


async def run_async(steps: Steps[Answer], connection: AsyncConnection) -> Answer:
    """As `run`."""

    async def done(step: Step) -> Any:
        if isinstance(step, Encode):
            return await asyncio.to_thread(encoded, step.image)
        if isinstance(step, Make):
            return await asyncio.to_thread(step.function)
        if isinstance(step, Pause):
            return await connection.pause(step.seconds)
        return await connection.send(step.request, step.timeout_s)

    async def driven() -> Answer:
        try:
            step = next(steps)
            while True:
                try:
                    result = await done(step)
                except CountersignError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value

    try:
        return await driven()
    except CountersignError as error:
        raise without_frames(error)  # noqa: B904, its cause is the one it has


class Turns(Generic[Item, Answer, Call]):
    """Which calls of a batch are under way, and whose turn it is."""

    def __init__(self, batch: Batch[Item, Answer], start: Callable[[Item], Call]) -> None:
        self._batch, self._start = batch, start
        self._items = iter(batch.items)
        self._begun: deque[tuple[Item, Call]] = deque()

    def next(self) -> tuple[Item, Call] | None:
        """The oldest call, and its item; None after the last.

        Twice `concurrency` are begun, so that a slow one does not idle the others.
        """
        room = max(0, 2 * self._batch.concurrency - len(self._begun))
        self._begun.extend((item, self._start(item)) for item in islice(self._items, room))
        return self._begun.popleft() if self._begun else None

    def answered(self, item: Item, answer: Answer | CountersignError) -> None:
        """Begins what the answer adds; its turn comes before that of the others."""
        if self._batch.follow:
            added = [(one, self._start(one)) for one in self._batch.follow(item, answer)]
            self._begun.extendleft(reversed(added))

    def rest(self) -> list[Call]:
        """The calls whose turn did not come."""
        return [call for _, call in self._begun]


def in_order(
    batch: Batch[Item, Answer], connection: Connection
) -> Generator[Answer | CountersignError, None, None]:
    """What each call of `batch` gives or raises, in order, from as many threads as it says."""

    def outcome(item: Item) -> Answer | CountersignError:
        try:
            return run(batch.call(item), connection)
        except CountersignError as error:
            return without_frames(error)

    pool = ThreadPoolExecutor(batch.concurrency)
    turns: Turns[Item, Answer, Future] = Turns(batch, lambda item: pool.submit(outcome, item))
    try:
        while turn := turns.next():
            item, call = turn
            answer = call.result()
            turns.answered(item, answer)
            yield answer
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if batch.end:
            batch.end()


async def in_order_async(
    batch: Batch[Item, Answer], connection: AsyncConnection
) -> AsyncGenerator[Answer | CountersignError, None]:
    """As `in_order`, from tasks."""
    limit = asyncio.Semaphore(batch.concurrency)

    async def outcome(item: Item) -> Answer | CountersignError:
        async with limit:
            try:
                return await run_async(batch.call(item), connection)
            except CountersignError as error:
                return without_frames(error)

    turns: Turns[Item, Answer, asyncio.Task] = Turns(
        batch, lambda item: asyncio.create_task(outcome(item))
    )
    try:
        while turn := turns.next():
            item, call = turn
            answer = await call
            turns.answered(item, answer)
            yield answer
    finally:
        for call in turns.rest():
            call.cancel()
        await asyncio.gather(*turns.rest(), return_exceptions=True)
        if batch.end:
            batch.end()


def blocking(
    call: Callable[P, Steps[Answer]],
) -> Callable[Concatenate[Connected, P], Answer]:
    """The method of `Client` that does `call`."""

    @wraps(call)
    def method(self: Connected, *args: P.args, **kwargs: P.kwargs) -> Answer:
        steps = call(*args, **kwargs)
        del args, kwargs  # else an error that is kept keeps the image
        return run(steps, self._connection)

    return described(method, "Client", answer_of(call))


def awaited(
    call: Callable[P, Steps[Answer]],
) -> Callable[Concatenate[AsyncConnected, P], Coroutine[Any, Any, Answer]]:
    """The method of `AsyncClient` that does `call`."""

    @wraps(call)
    async def method(self: AsyncConnected, *args: P.args, **kwargs: P.kwargs) -> Answer:
        steps = call(*args, **kwargs)
        del args, kwargs  # else an error that is kept keeps the image
        return await run_async(steps, self._connection)

    return described(method, "AsyncClient", answer_of(call))


def streaming(
    plan: Callable[P, Batch[Item, Answer]],
) -> Callable[Concatenate[Connected, P], Generator[Answer | CountersignError, None, None]]:
    """The method of `Client` that does the calls of `plan`."""

    @wraps(plan)
    def method(
        self: Connected, *args: P.args, **kwargs: P.kwargs
    ) -> Generator[Answer | CountersignError, None, None]:
        return in_order(plan(*args, **kwargs), self._connection)

    answers = answer_of(plan) | CountersignError
    return described(method, "Client", Generator[answers, None, None])  # type: ignore[valid-type]


def streaming_async(
    plan: Callable[P, Batch[Item, Answer]],
) -> Callable[Concatenate[AsyncConnected, P], AsyncGenerator[Answer | CountersignError, None]]:
    """The method of `AsyncClient` that does the calls of `plan`, for `async for`."""

    @wraps(plan)
    def method(
        self: AsyncConnected, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[Answer | CountersignError, None]:
        return in_order_async(plan(*args, **kwargs), self._connection)

    answers = answer_of(plan) | CountersignError
    return described(method, "AsyncClient", AsyncGenerator[answers, None])  # type: ignore[valid-type]


def answer_of(call: Callable[..., Any]) -> Any:
    """The `Answer` of the Steps or the Batch that `call` is annotated to return."""
    return get_args(inspect.signature(call).return_annotation)[-1]


def described(method: Any, owner: str, returned: Any) -> Any:
    """`method`, with the signature that `help` shows: of what it wraps, with `self`."""
    wrapped = inspect.signature(method)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [this, *wrapped.parameters.values()]
    method.__signature__ = wrapped.replace(parameters=parameters, return_annotation=returned)
    method.__annotations__ = {**method.__annotations__, "return": returned}
    method.__qualname__ = f"{owner}.{method.__name__}"
    return method
