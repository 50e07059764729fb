"""What each method of the clients does, step by step, without doing it.

A call is a generator: it yields steps, gets what a step gave or raised, and returns the answer.
`Client` does the steps one by one, `AsyncClient` awaits them.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from countersign.errors import CountersignError
from countersign.images import Image
from countersign.messages import (
    DETECTOR,
    READER,
    Confidence,
    Config,
    Detections,
    Infer,
    Model,
    Reading,
    Request,
    Statistics,
    detect_parameters,
    to_detections,
    to_models,
    to_reading,
    to_versions,
)
from countersign.retries import Attempts

TIMEOUT_S = 30.0
CONCURRENCY = 4

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


@dataclass(frozen=True)
class Encode:
    """Gives the bytes of an image file, or raises Refused."""

    image: Image


@dataclass(frozen=True)
class Send:
    """Gives the server's reply, or raises a CountersignError."""

    request: Request
    timeout_s: float | None


@dataclass(frozen=True)
class Pause:
    """Gives None after so many seconds, or raises Closed."""

    seconds: float


Step = Encode | Send | Pause
Steps = Generator[Step, Any, Answer]


@dataclass(frozen=True)
class Batch(Generic[Item, Answer_co]):
    """Calls that run side by side; their answers, or errors, come in the order of the items."""

    call: Callable[[Item], Steps[Answer_co]]
    items: Iterable[Item]
    concurrency: int  # calls at a time
    follow: Callable[[Item, Answer_co], Iterable[Item]] | None = None  # items an answer adds

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency: {self.concurrency}, limit 1 or more")


def detect(
    image: Image,
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    *,
    page: int = 1,
    operating_point: str | None = None,
    model: str = DETECTOR,
    timeout_s: float | None = TIMEOUT_S,
) -> Steps[Detections]:
    """Signatures and stamps on a page, best score first.

    image            an image file as bytes or path, or an array (H, W) or (H, W, 3) RGB uint8
    confidence       lowest score, [0, 1], for all classes or as {class: score}
    iou              overlap, [0, 1], above which the weaker of two boxes of a class goes
    max_detections   how many at most
    page             which page of a file of several, from 1; the answer has their `page_count`
    operating_point  which of the model's own thresholds: "accept", to be relied on, or "review",
                     to be looked at
    model            which of the server's detectors, as `models` lists them
    timeout_s        for the whole call, with its retries; None for no deadline

    A setting left None is the model's own. Raises Refused, Denied, Unavailable,
    DeadlineExceeded or Closed, all CountersignErrors.
    """
    attempts = Attempts(timeout_s)
    parameters = detect_parameters(confidence, iou, max_detections, page, operating_point)
    image_file = yield Encode(image)
    reply = yield from replied(Infer(model, image_file, parameters), attempts)
    return to_detections(reply, page)


def detect_pages(
    image: Image,
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    *,
    operating_point: str | None = None,
    model: str = DETECTOR,
    concurrency: int = CONCURRENCY,
    timeout_s: float | None = TIMEOUT_S,
) -> Batch[int, Detections]:
    """What `detect` gives or raises for each page of a file, in their order, as they get ready.

    At most `concurrency` requests run at a time. `timeout_s` is for each page. If the first page
    fails, its error is all that comes, since it alone tells how many there are.
    """

    def call(page: int) -> Steps[Detections]:
        return detect(
            image,
            confidence,
            iou,
            max_detections,
            page=page,
            operating_point=operating_point,
            model=model,
            timeout_s=timeout_s,
        )

    return Batch(call, [1], concurrency, lambda _, first: range(2, pages_after(first)))


def detect_many(
    images: Iterable[Image],
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    *,
    page: int = 1,
    operating_point: str | None = None,
    model: str = DETECTOR,
    concurrency: int = CONCURRENCY,
    timeout_s: float | None = TIMEOUT_S,
) -> Batch[Image, Detections]:
    """What `detect` gives or raises for each image, in their order, as they get ready.

    One answer for an image: of the same `page` of each, whose `page_count` tells of more. At
    most `concurrency` requests run at a time, and twice as many images are held. `timeout_s`
    is for each image.
    """
    call = partial(
        detect,
        confidence=confidence,
        iou=iou,
        max_detections=max_detections,
        page=page,
        operating_point=operating_point,
        model=model,
        timeout_s=timeout_s,
    )
    return Batch(call, images, concurrency)


def read(
    image: Image,
    min_confidence: float | None = None,
    *,
    timeout_s: float | None = TIMEOUT_S,
) -> Steps[Reading]:
    """The text of a CAPTCHA.

    image           an image file as bytes or path, or an array (H, W) or (H, W, 3) RGB uint8
    min_confidence  where `certain` begins, [0, 1]; None for the server's own threshold
    timeout_s       for the whole call, with its retries; None for no deadline

    Raises Refused, Denied, Unavailable, DeadlineExceeded or Closed, all CountersignErrors.
    """
    attempts = Attempts(timeout_s)
    image_file = yield Encode(image)
    reply = yield from replied(Infer(READER, image_file), attempts)
    return to_reading(reply, min_confidence)


def models(*, timeout_s: float | None = TIMEOUT_S) -> Steps[list[Model]]:
    """What the server has: its ensembles by name, with versions and operating points."""
    attempts = Attempts(timeout_s)
    versions = to_versions((yield from replied(Statistics(), attempts)))
    configs = {}
    for name in versions:
        configs[name] = yield from replied(Config(name), attempts)
    return to_models(versions, configs)


def replied(request: Request, attempts: Attempts) -> Steps[Any]:
    """The server's reply, after as many attempts as the time allows."""
    while True:
        try:
            return (yield Send(request, attempts.left_s()))
        except CountersignError as failure:
            pause_s = attempts.pause_s(failure)
        yield Pause(pause_s)


def pages_after(first: Detections) -> int:
    """One more than the last page, if `first` is the first."""
    return first.page_count + 1 if first.page == 1 else 0
