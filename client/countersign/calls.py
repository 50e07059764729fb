"""What each method of the clients does, step by step, without doing it.

A call is a generator: it yields steps, gets what a step gave or raised, and returns the answer.
`Client` does the steps one by one, `AsyncClient` awaits them.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from countersign.documents import DPI, Pages
from countersign.errors import CountersignError, Refused
from countersign.images import Image
from countersign.messages import (
    DETECTOR,
    READER,
    Confidence,
    Config,
    Detections,
    Infer,
    Model,
    PageDetections,
    Reading,
    Request,
    Statistics,
    detect_parameters,
    to_detections,
    to_models,
    to_page,
    to_reading,
    to_versions,
)
from countersign.pages import Page
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
class Make:
    """Gives what `function` returns, which may take a while, or raises its CountersignError."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Send:
    """Gives the server's reply, or raises a CountersignError."""

    request: Request
    timeout_s: float | None


@dataclass(frozen=True)
class Pause:
    """Gives None after so many seconds, or raises Closed."""

    seconds: float


Step = Encode | Make | Send | Pause
Steps = Generator[Step, Any, Answer]


@dataclass(frozen=True)
class Batch(Generic[Item, Answer_co]):
    """Calls that run side by side; their answers, or errors, come in the order of the items."""

    call: Callable[[Item], Steps[Answer_co]]
    items: Iterable[Item]
    concurrency: int  # calls at a time
    # items that an answer, or an error, adds
    follow: Callable[[Item, Answer_co | CountersignError], Iterable[Item]] | None = None
    end: Callable[[], None] | None = None  # called when nothing more is to come

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


def detect_document(
    document: Image,
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    *,
    pages: Iterable[int] | None = None,
    dpi: float = DPI,
    operating_point: str | None = None,
    model: str = DETECTOR,
    concurrency: int = CONCURRENCY,
    timeout_s: float | None = TIMEOUT_S,
) -> Batch[int, PageDetections]:
    """What each page of a PDF, a TIFF or an image gives or raises, in order, as they get ready.

    document  a file as bytes or path, or an array as `detect` takes it
    pages     which pages, from 1; all if left out
    dpi       at which pages of a PDF are drawn; those that are one scan go as that scan

    The other settings are those of `detect`, `timeout_s` for each page. Boxes of a PDF come in
    points too, with the page's fields for digital signatures and stamp annotations. A page that
    fails stops no other; if the document cannot be opened, that is all that comes. At most
    `concurrency` pages are in work. A PDF needs the extra: pip install 'countersign-client[pdf]'.
    """
    opened = Pages(document, dpi)

    def call(page: int) -> Steps[PageDetections]:
        return detect_page(
            opened,
            page,
            confidence,
            iou,
            max_detections,
            operating_point=operating_point,
            model=model,
            timeout_s=timeout_s,
        )

    def follow(page: int, _: object) -> Iterable[int]:
        return range(2, opened.count + 1) if pages is None and page == 1 else ()

    return Batch(call, [1] if pages is None else pages, concurrency, follow, opened.close)


def detect_page(
    pages: Pages,
    page: int,
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    *,
    operating_point: str | None = None,
    model: str = DETECTOR,
    timeout_s: float | None = TIMEOUT_S,
) -> Steps[PageDetections]:
    """A step of `detect_document`: one of its pages."""
    attempts = Attempts(timeout_s)
    detect_parameters(confidence, iou, max_detections, page, operating_point)  # raises at once

    def asked(made: Page) -> Infer:
        parameters = detect_parameters(
            confidence, iou, max_detections, made.page_number, operating_point
        )
        return Infer(model, made.image, parameters)

    made: Page = yield Make(partial(pages.page, page))
    try:
        reply = yield from replied(asked(made), attempts)
    except Refused:
        if not made.embedded:
            raise
        made = yield Make(partial(pages.page, page, drawn=True))  # PDFium may read that scan
        reply = yield from replied(asked(made), attempts)
    found = to_detections(reply, made.page_number)
    pages.found(found.page_count)
    return to_page(found, made, pages.count)


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
    try:
        while True:
            try:
                return (yield Send(request, attempts.left_s()))
            except CountersignError as failure:
                pause_s = attempts.pause_s(failure)
            yield Pause(pause_s)
    except CountersignError as error:
        error.request_id = request.id if isinstance(request, Infer) else ""
        raise


def pages_after(first: Detections | CountersignError) -> int:
    """One more than the last page, if `first` is the first."""
    return first.page_count + 1 if isinstance(first, Detections) and first.page == 1 else 0
