"""A document's pages, asked about side by side: each an answer or an error of its own."""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from countersign.documents import Document, kind_of, open_document
from countersign.errors import CountersignError, Denied, Refused, Unavailable
from countersign.messages import DETECTOR, Detections, Model, to_detections
from countersign.pages import Page
from countersign.retries import Attempts
from gateway.asked import Asked
from gateway.problems import Problem, problem_of
from gateway.state import State

JsonObject = dict[str, Any]
HASHED_AT_ONCE = 2**20  # bytes that are hashed without a thread, in a millisecond or less


@dataclass(frozen=True)
class PageAnswer:
    """What one page is answered."""

    number: int
    body: JsonObject  # as answers.Page describes it
    detections: Detections | None = None  # None if it failed
    page: Page | None = field(default=None, repr=False)  # the picture that was asked about


@asynccontextmanager
async def opened(data: bytes, asked: Asked, state: State) -> AsyncIterator[Document]:
    """The document in `data`, until the end; a PDF in a process of its own.

    Raises CountersignError for what is none, Problem 429 if no process is free.
    """
    settings = state.settings
    dpi, bounds = asked.dpi or settings.dpi, settings.bounds
    kind = kind_of(data)
    async with AsyncExitStack() as stack:
        if kind == "PDF":
            process = await stack.enter_async_context(state.pdfs.lent())
            document = await asyncio.to_thread(open_document, data, dpi, bounds, process)
        elif kind == "TIFF":
            document = await asyncio.to_thread(open_document, data, dpi, bounds)
        else:
            document = open_document(data, dpi, bounds)
        stack.callback(document.close)
        yield document


async def answer_document(
    document: Document, asked: Asked, state: State, key: str | None = None
) -> AsyncGenerator[PageAnswer, None]:
    """The pages that are asked for, as they get ready; a page that fails is an error alone. Raises
    Denied if the servers do not let the caller ask.

    At most `document_pages_at_once` are in work, so that memory is that of these pages.
    """
    numbers = iter(asked.numbers(document.page_count))
    late_at = time.monotonic() + state.settings.document_timeout_s
    work: set[asyncio.Task[PageAnswer]] = set()

    def begin() -> None:
        if (number := next(numbers, None)) is not None:
            work.add(asyncio.create_task(answer_page(document, number, asked, state, key, late_at)))

    try:
        for _ in range(state.settings.document_pages_at_once):
            begin()
        while work:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                work.discard(task)
                begin()
                yield task.result()
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def answer_page(
    document: Document,
    number: int,
    asked: Asked,
    state: State,
    key: str | None,
    late_at: float = math.inf,
) -> PageAnswer:
    """A page's marks, or its error; that alone after `late_at`, on the clock of time.monotonic."""
    try:
        if time.monotonic() > late_at:
            limit_s = state.settings.document_timeout_s
            raise Problem(
                504,
                f"page {number}: not looked at, the document took more than {limit_s:g} s",
                "urn:countersign:late",
            )
        answer = await look_at(document, number, asked, state, key, patient=True)
    except Denied:
        raise  # of all pages
    except CountersignError as error:
        answer = PageAnswer(number, {"page": number, "error": problem_of(error).members})
    except Problem as problem:
        answer = PageAnswer(number, {"page": number, "error": problem.members})
    state.metrics.pages.labels(document.kind, "error" if "error" in answer.body else "ok").inc()
    return answer


async def look_at(
    document: Document,
    number: int,
    asked: Asked,
    state: State,
    key: str | None,
    patient: bool = False,
) -> PageAnswer:
    """A page's marks. Raises CountersignError.

    Who is `patient` waits for servers that have no room, until `timeout_s`.
    """
    began = time.perf_counter()
    attempts = Attempts(state.settings.timeout_s)

    async def found_on(page: Page) -> Detections:
        parameters = asked.detector
        if page.page_number > 1:
            parameters = {**parameters, "page": page.page_number}
        while True:
            try:
                async with state.admission.page():
                    left_s = attempts.left_s() or 0.001
                    reply = await state.tritons.infer(DETECTOR, page.image, parameters, key, left_s)
                return to_detections(reply, page.page_number)
            except Unavailable as error:
                if not patient:
                    raise
                pause_s = attempts.pause_s(error)
            await asyncio.sleep(pause_s)

    page = await document.page_async(number)
    try:
        found = await found_on(page)
    except Refused:
        if not page.embedded:
            raise
        page = await document.page_async(number, drawn=True)  # PDFium may read that scan
        found = await found_on(page)
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return PageAnswer(number, page_body(page, found, milliseconds), found, page)


def head_of(document: Document, data: bytes, digest: str, asked: Asked, model: Model) -> JsonObject:
    """All of answers.Document but its pages."""
    return {
        "sha256": digest,
        "bytes": len(data),
        "kind": document.kind,
        "page_count": document.page_count,
        "model": {"name": model.name, "version": str(model.version)},
        "operating_point": asked.operating_point,
    }


async def sha256(data: bytes) -> str:
    """Of large files in a thread, which hashlib lets run beside the event loop."""
    if len(data) <= HASHED_AT_ONCE:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


def page_body(page: Page, found: Detections, milliseconds: float) -> JsonObject:
    """A page as answers.Page describes it."""
    width, height = found.page_size
    body: JsonObject = {"page": page.number, "width": width, "height": height}
    detections = detection_rows(found)
    if page.size_points is not None:
        body["width_points"], body["height_points"] = page.size_points
        points = page.to_points(found.boxes)
        for row, box in zip(detections, points.tolist(), strict=True):
            row["bbox_points"] = [round(edge, 2) for edge in box]
        body["detections"] = detections
        body["signature_fields"] = page.signature_fields
        body["stamp_annotations"] = page.stamp_annotations
    else:
        body["detections"] = detections
    body["milliseconds"] = milliseconds
    return body


def detection_rows(found: Detections) -> list[JsonObject]:
    """Each detection as `POST /detect` answers it, best first."""
    return [
        {"class": label, "confidence": score, "bbox": box}
        for label, score, box in zip(
            found.labels, shortened(found.scores, 4), shortened(found.boxes, 1), strict=True
        )
    ]


def shortened(values: np.ndarray, places: int) -> Sequence[Any]:
    """Rounded, as Python's own numbers: float32 would show digits that it does not have."""
    return np.round(values.astype(np.float64), places).tolist()
