"""What was answered, as it goes into the log."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from countersign.documents import Document
from countersign.messages import OPERATING_POINTS, Model
from gateway.asked import Asked
from gateway.callers import Caller
from gateway.documents import PageAnswer, head_of, look_at, opened, sha256
from gateway.log import Entry
from gateway.state import State


@dataclass
class Record:
    """An answer in the making: the head of a document and the pages that are done."""

    state: State
    caller: Caller
    head: dict[str, Any]
    asked: Asked
    model: Model
    content: bytes = field(repr=False)
    pages: list[dict[str, Any]] = field(default_factory=list)
    check: dict[str, Any] | None = None  # the outcome of a form's
    began: float = field(default_factory=time.perf_counter)

    @property
    def document(self) -> dict[str, Any]:
        """As answers.Document describes it, the pages in order."""
        return {**self.head, "pages": sorted(self.pages, key=lambda page: page["page"])}

    @property
    def counts(self) -> dict[str, int]:
        """Pages, errors and detections so far."""
        return {
            "pages": len(self.pages),
            "errors": sum("error" in page for page in self.pages),
            "detections": sum(len(page.get("detections", ())) for page in self.pages),
        }

    def put(self) -> None:
        """Into the log, if there is one; also of a document that nobody waited for to the end."""
        if self.state.log is None or not self.pages:
            return
        self.state.log.put(
            Entry(
                document=self.document,
                caller=self.caller.name,
                milliseconds=round((time.perf_counter() - self.began) * 1000, 1),
                thresholds=thresholds(self.asked, self.model),
                accept=by_class(self.model.confidence),
                check=self.check,
                content=self.content,
            )
        )


async def begun(
    document: Document, data: bytes, asked: Asked, state: State, caller: Caller
) -> Record:
    """The record of a document, which `data` is, before its pages. Raises CountersignError."""
    model = await state.tritons.model(caller.key)
    head = head_of(document, data, await sha256(data), asked, model)
    return Record(state, caller, head, asked, model, data)


async def one_page(
    data: bytes, number: int, asked: Asked, state: State, caller: Caller, patient: bool = False
) -> PageAnswer:
    """The marks of page `number` of the file that `data` is, which the log has then as well.

    Raises CountersignError, and Problem if there is no room; `patient` is as of look_at.
    """
    async with opened(data, asked, state) as document:
        answer = await look_at(document, number, asked, state, caller.key, patient)
        if state.log is not None:
            record = await begun(document, data, asked, state, caller)
            record.pages.append(answer.body)
            record.began -= answer.body["milliseconds"] / 1000
            record.put()
    return answer


def thresholds(asked: Asked, model: Model) -> dict[str, float]:
    """The lowest score of each class that is answered."""
    accepted = asked.operating_point == OPERATING_POINTS[0]
    points = by_class(model.confidence if accepted or not model.review else model.review)
    every = asked.detector.get("confidence")
    return {
        name: float(asked.detector.get(f"confidence_{name}", point if every is None else every))
        for name, point in points.items()
    }


def by_class(confidence: Mapping[str, float] | float | None) -> dict[str, float]:
    """A detector's thresholds; a reader has no classes."""
    return dict(confidence) if isinstance(confidence, Mapping) else {}
