"""A document's pages, asked about side by side: each an answer or an error of its own."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from countersign.documents import Document, Page
from countersign.errors import CountersignError, Unavailable
from countersign.messages import DETECTOR, Detections, to_detections
from countersign.retries import Attempts
from gateway.admission import Admission
from gateway.asked import Asked
from gateway.problems import Problem, problem_of
from gateway.settings import Settings
from gateway.triton import Tritons

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class PageAnswer:
    """What one page is answered."""

    number: int
    body: JsonObject  # as answers.Page describes it
    detections: Detections | None = None  # None if it failed
    page: Page | None = field(default=None, repr=False)  # the picture that was asked about


async def answer_document(
    document: Document,
    asked: Asked,
    settings: Settings,
    tritons: Tritons,
    admission: Admission,
    key: str | None = None,
) -> AsyncGenerator[PageAnswer, None]:
    """The pages that are asked for, as they get ready.

    At most `document_pages_at_once` are in work, so that memory is that of these pages.
    """
    numbers = iter(asked.numbers(document.page_count))
    work: set[asyncio.Task[PageAnswer]] = set()

    def begin() -> None:
        if (number := next(numbers, None)) is not None:
            call = answer_page(document, number, asked, settings, tritons, admission, key)
            work.add(asyncio.create_task(call))

    try:
        for _ in range(settings.document_pages_at_once):
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
    settings: Settings,
    tritons: Tritons,
    admission: Admission,
    key: str | None,
) -> PageAnswer:
    """A page's marks or its error; the servers are asked again until `timeout_s`."""
    began = time.perf_counter()
    attempts = Attempts(settings.timeout_s)
    try:
        page = await document.page_async(number)
        parameters = dict(asked.detector)
        if page.page_number > 1:
            parameters["page"] = page.page_number
        while True:
            try:
                async with admission.page():
                    left_s = attempts.left_s() or 0.001
                    reply = await tritons.infer(DETECTOR, page.image, parameters, key, left_s)
                break
            except Unavailable as error:
                pause_s = attempts.pause_s(error)
            await asyncio.sleep(pause_s)
        found = to_detections(reply, page.page_number)
    except CountersignError as error:
        return PageAnswer(number, {"page": number, "error": problem_of(error).members})
    except Problem as problem:
        return PageAnswer(number, {"page": number, "error": problem.members})
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return PageAnswer(number, page_body(page, found, milliseconds), found, page)


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
