"""The two clients: `Client` blocks, `AsyncClient` awaits; all else they share."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from countersign.connections import Tls, connect, connect_async
from countersign.errors import CountersignError, DeadlineExceeded, Unavailable
from countersign.images import Image, encoded
from countersign.messages import (
    DETECTOR,
    MODELS,
    READER_SETTINGS,
    Confidence,
    Detections,
    Model,
    Reading,
    detect_arguments,
    read_arguments,
    to_detections,
    to_min_confidence,
    to_models,
    to_reading,
    to_versions,
)
from countersign.retries import Attempts

TIMEOUT_S = 30.0
CONCURRENCY = 4

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Client:
    """A connection to the server that any thread may use. Close it, or use `with`.

    url       host:port; None for 127.0.0.1, port 8001 (grpc) or 8000 (http)
    protocol  "grpc" or "http"
    tls       encrypts if given; Tls() trusts the system's authorities
    headers   go with each request, as those that open a restricted API

    Each call raises Refused, Denied, Unavailable or DeadlineExceeded, all CountersignErrors;
    `timeout_s` spans all of it. A connection that fails is retried up to three times.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: str = "grpc",
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connect(url, protocol, tls, headers)
        self._min_confidence: list[float | None] = []  # empty until the server was asked

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the client is of no use afterwards."""
        self._connection.close()

    def detect(
        self,
        image: Image,
        confidence: Confidence | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        *,
        model: str = DETECTOR,
        timeout_s: float = TIMEOUT_S,
    ) -> Detections:
        """Signatures and stamps on a page, best score first.

        image           an image file as bytes or path, or an array (H, W) or (H, W, 3) RGB uint8
        confidence      lowest score, [0, 1], for all classes or as {class: score}
        iou             overlap, [0, 1], above which the weaker of two boxes of a class goes
        max_detections  how many at most
        model           which of the server's detectors, as `models` lists them

        A setting left None is the model's own.
        """
        attempts = Attempts(timeout_s)
        arguments = detect_arguments(
            self._connection.triton, encoded(image), confidence, iou, max_detections, model
        )
        return to_detections(self._call("infer", arguments, attempts))

    def detect_many(
        self,
        images: Iterable[Image],
        confidence: Confidence | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        *,
        model: str = DETECTOR,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
    ) -> Generator[Detections | CountersignError, None, None]:
        """What `detect` gives or raises for each image, in their order, as they get ready.

        At most `concurrency` requests run at a time, and twice as many images are held.
        `timeout_s` is for each image.
        """
        detect = partial(
            self.detect,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            model=model,
            timeout_s=timeout_s,
        )
        return in_order(detect, images, concurrency)

    def read(
        self,
        image: Image,
        min_confidence: float | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Reading:
        """The text of a CAPTCHA.

        image           an image file as bytes or path, or an array (H, W) or (H, W, 3) RGB uint8
        min_confidence  where `certain` begins, [0, 1]; None for the server's operating point,
                        which is asked for once
        """
        attempts = Attempts(timeout_s)
        arguments = read_arguments(self._connection.triton, encoded(image))
        reply = self._call("infer", arguments, attempts)
        if min_confidence is None:
            min_confidence = self._operating_point(attempts)
        return to_reading(reply, min_confidence)

    def models(self, *, timeout_s: float = TIMEOUT_S) -> list[Model]:
        """What the server has: its ensembles by name, with versions and operating points."""
        attempts = Attempts(timeout_s)
        versions = to_versions(self._call("get_inference_statistics", MODELS, attempts))
        configs = {
            name: self._call("get_model_config", {"model_name": name}, attempts)
            for name in versions
        }
        return to_models(versions, configs)

    def _operating_point(self, attempts: Attempts) -> float | None:
        """The server's; None if it has none or does not tell."""
        if not self._min_confidence:
            try:
                config = self._call("get_model_config", READER_SETTINGS, attempts)
                self._min_confidence.append(to_min_confidence(config))
            except (Unavailable, DeadlineExceeded):
                raise
            except CountersignError:
                self._min_confidence.append(None)
        return self._min_confidence[0]

    def _call(self, method: str, arguments: Mapping[str, Any], attempts: Attempts) -> Any:
        while True:
            try:
                return self._connection.call(method, arguments, attempts.left_s())
            except CountersignError as failure:
                time.sleep(attempts.pause_s(failure))


class AsyncClient:
    """`Client` for asyncio, inside one event loop. Close it, or use `async with`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: str = "grpc",
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connect_async(url, protocol, tls, headers)
        self._min_confidence: list[float | None] = []  # empty until the server was asked

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; the client is of no use afterwards."""
        await self._connection.close()

    async def detect(
        self,
        image: Image,
        confidence: Confidence | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        *,
        model: str = DETECTOR,
        timeout_s: float = TIMEOUT_S,
    ) -> Detections:
        """As `Client.detect`."""
        attempts = Attempts(timeout_s)
        arguments = detect_arguments(
            self._connection.triton,
            await asyncio.to_thread(encoded, image),
            confidence,
            iou,
            max_detections,
            model,
        )
        return to_detections(await self._call("infer", arguments, attempts))

    def detect_many(
        self,
        images: Iterable[Image],
        confidence: Confidence | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        *,
        model: str = DETECTOR,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
    ) -> AsyncGenerator[Detections | CountersignError, None]:
        """As `Client.detect_many`, for `async for`."""
        detect = partial(
            self.detect,
            confidence=confidence,
            iou=iou,
            max_detections=max_detections,
            model=model,
            timeout_s=timeout_s,
        )
        return in_order_async(detect, images, concurrency)

    async def read(
        self,
        image: Image,
        min_confidence: float | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Reading:
        """As `Client.read`."""
        attempts = Attempts(timeout_s)
        image_file = await asyncio.to_thread(encoded, image)
        arguments = read_arguments(self._connection.triton, image_file)
        reply = await self._call("infer", arguments, attempts)
        if min_confidence is None:
            min_confidence = await self._operating_point(attempts)
        return to_reading(reply, min_confidence)

    async def models(self, *, timeout_s: float = TIMEOUT_S) -> list[Model]:
        """As `Client.models`."""
        attempts = Attempts(timeout_s)
        versions = to_versions(await self._call("get_inference_statistics", MODELS, attempts))
        configs = {
            name: await self._call("get_model_config", {"model_name": name}, attempts)
            for name in versions
        }
        return to_models(versions, configs)

    async def _operating_point(self, attempts: Attempts) -> float | None:
        if not self._min_confidence:
            try:
                config = await self._call("get_model_config", READER_SETTINGS, attempts)
                self._min_confidence.append(to_min_confidence(config))
            except (Unavailable, DeadlineExceeded):
                raise
            except CountersignError:
                self._min_confidence.append(None)
        return self._min_confidence[0]

    async def _call(self, method: str, arguments: Mapping[str, Any], attempts: Attempts) -> Any:
        while True:
            try:
                return await self._connection.call(method, arguments, attempts.left_s())
            except CountersignError as failure:
                await asyncio.sleep(attempts.pause_s(failure))


def in_order(
    call: Callable[[Item], Answer], items: Iterable[Item], concurrency: int
) -> Generator[Answer | CountersignError, None, None]:
    """What `call` gives or raises for each item, in their order, from `concurrency` threads.

    Raises ValueError if `concurrency` is under 1.
    """
    pending: deque[Future[Answer | CountersignError]] = deque()
    pool = ThreadPoolExecutor(checked_concurrency(concurrency))
    try:
        for item in items:
            pending.append(pool.submit(_kept, call, item))
            if len(pending) == 2 * concurrency:  # a slow one does not idle the others
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


async def in_order_async(
    call: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], concurrency: int
) -> AsyncGenerator[Answer | CountersignError, None]:
    """As `in_order`, from `concurrency` tasks."""
    pending: deque[asyncio.Task[Answer | CountersignError]] = deque()
    limit = asyncio.Semaphore(checked_concurrency(concurrency))

    async def kept(item: Item) -> Answer | CountersignError:
        async with limit:
            try:
                return await call(item)
            except CountersignError as error:
                return error

    try:
        for item in items:
            pending.append(asyncio.create_task(kept(item)))
            if len(pending) == 2 * concurrency:  # a slow one does not idle the others
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()


def checked_concurrency(concurrency: int) -> int:
    """`concurrency` if it is at least 1, else ValueError."""
    if concurrency < 1:
        raise ValueError(f"concurrency: {concurrency}, limit 1 or more")
    return concurrency


def _kept(call: Callable[[Item], Answer], item: Item) -> Answer | CountersignError:
    try:
        return call(item)
    except CountersignError as error:
        return error
