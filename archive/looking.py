"""What is found in a file: its pages one by one, each an answer or an error, and a form's check."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from archive.rows import margin
from archive.sources import Content
from countersign import Client
from countersign.documents import Document, ImageDocument, open_document
from countersign.errors import Refused
from countersign.messages import DETECTOR, Detections, Model, to_models
from countersign.pages import Bounds, Page
from countersign.pdf import DPI, PdfProcess
from gateway.forms import (
    Form,
    PageMarks,
    check_body,
    found_marks,
    judge,
    open_page,
    place,
    seen_upright,
    upright,
)
from inprocess import Detector
from inprocess.repository import REPOSITORY, newest_version, read_config

BOUNDS = Bounds(max_bytes=2**28)  # of a file: a worker holds a few
REVIEW = "review"

Row = dict[str, Any]
Look = Callable[[Page], Detections]  # raises Refused


@dataclass(frozen=True)
class Settings:
    """How an archive is looked at."""

    base: str  # the folder, or URL of one, in which keys are paths
    operating_point: str
    repository: str | None = None  # None for the shipped one, wherever a worker has it
    server: str | None = None  # asked in place of a repository
    dpi: float = DPI
    form: Form | None = field(default=None, repr=False)  # that each document is checked for


@dataclass(frozen=True)
class Eye:
    """What looks at pages, and as what."""

    look: Look
    model: Model
    settings: Settings

    @property
    def accept(self) -> Mapping[str, float]:
        """The detector's accept thresholds by class."""
        found = self.model.confidence
        return found if isinstance(found, Mapping) else {}


def model_of(settings: Settings, client: Client | None = None) -> Model:
    """The detector that looks. Raises ValueError or CountersignError if there is none."""
    if client is not None:
        models = client.models()
    else:
        repository = Path(settings.repository or REPOSITORY)
        configs = {
            path.parent.name: read_config(path) for path in repository.glob("*/config.pbtxt")
        }
        models = to_models(
            {name: newest_version(repository / name) for name in configs},
            {
                name: json_format.MessageToDict(config, preserving_proto_field_name=True)
                for name, config in configs.items()
            },
        )
    found = next((model for model in models if model.name == DETECTOR), None)
    if found is None:
        where = settings.server or settings.repository
        raise ValueError(f"{where}: no {DETECTOR}, there are {[each.name for each in models]}")
    return found


def in_process(settings: Settings) -> Look:
    """Looks with a network in this process, on one core."""
    detector = Detector(settings.repository or REPOSITORY, threads=1)

    def look(page: Page) -> Detections:
        parameters: dict[str, object] = {"operating_point": settings.operating_point}
        if page.page_number > 1:
            parameters["page"] = page.page_number
        try:
            found = detector.detect(page.image, **parameters)
        except ValueError as error:
            raise Refused(str(error)) from error
        width, height = found["page_size"].tolist()
        labels = tuple(str(label) for label in found["labels"].tolist())
        return Detections(found["boxes"], found["scores"], labels, (width, height))

    return look


def by_server(settings: Settings, client: Client) -> Look:
    """Looks with the network of a server."""

    def look(page: Page) -> Detections:
        return client.detect(
            page.image, page=page.page_number, operating_point=settings.operating_point
        )

    return look


def answer(content: Content, eye: Eye, process: PdfProcess) -> Row:
    """The fields of a file's row, but for those of its listing; a PDF is read by `process`.

    What cannot be read is an error there. Raises CountersignError for what is not the file's fault.
    """
    row: Row = {"sha256": content.sha256, "page_count": None, "error": None, "pages": []}
    try:
        if content.data is None:
            raise Refused(f"document: {content.length} bytes, limit {BOUNDS.max_bytes}")
        document = open_document(content.data, eye.settings.dpi, BOUNDS, process)
    except Refused as error:
        return row | unread(str(error), eye.model, eye.settings)
    with closing(document):
        row["page_count"] = document.page_count
        marks = []
        for number in range(1, document.page_count + 1):
            page_row, page, found = _answer_page(document, number, eye)
            row["pages"].append(page_row)
            if eye.settings.form is not None:
                marks.append(_marks(page_row, page, found))
        if eye.settings.form is not None:
            row |= _checked(eye.settings.form, document, marks, eye)
    return row


def unread(error: str, model: Model, settings: Settings) -> Row:
    """The fields that tell why a file has no page to look at."""
    page = _page_row(0, model, settings) | {"error": error}
    row: Row = {"error": error, "pages": [page]}
    return row | ({"form": settings.form.name, "why": error} if settings.form else {})


def _page_row(number: int, model: Model, settings: Settings) -> Row:
    return {
        "page": number,
        "model": model.name,
        "version": model.version,
        "operating_point": settings.operating_point,
    }


def _answer_page(
    document: Document, number: int, eye: Eye
) -> tuple[Row, Page | None, Detections | None]:
    row = _page_row(number, eye.model, eye.settings)
    began = time.perf_counter()
    page = None
    try:
        page = document.page(number)
        try:
            found = eye.look(page)
        except Refused:
            if not page.embedded:
                raise
            page = document.page(number, drawn=True)  # PDFium may read that scan
            found = eye.look(page)
    except Refused as error:
        return row | {"error": str(error)}, page, None
    width, height = found.page_size
    answered = {
        "width": width,
        "height": height,
        "boxes": found.boxes.tolist(),
        "scores": found.scores.tolist(),
        "labels": list(found.labels),
        "margin": margin(found, eye.accept),
        "milliseconds": (time.perf_counter() - began) * 1000,
    }
    return row | answered, page, found


def _marks(row: Row, page: Page | None, found: Detections | None) -> PageMarks:
    """A page as forms take it."""
    if page is None or found is None:
        return PageMarks(row["page"], 0, 0, (), error=f"not read: {row['error']}")
    width, height = found.page_size
    try:
        sheet = open_page(page.image, page.page_number)
    except ValueError as error:
        return PageMarks(row["page"], width, height, (), error=f"not read: {error}")
    return PageMarks(row["page"], width, height, found_marks(found), sheet)


def _checked(form: Form, document: Document, pages: list[PageMarks], eye: Eye) -> Row:
    """What a document shows of a form."""
    try:
        places = place(form, pages)
    except ValueError as error:
        return {"form": form.name, "verdict": REVIEW, "why": str(error)}
    for i, placed in enumerate(places):
        if placed.page is None or placed.registration is None or not placed.registration.turned:
            continue
        turned = placed.registration.turned
        try:
            page = document.page(placed.page.page)
            image = upright(page.image, page.page_number, turned)
            found = eye.look(ImageDocument(image, 1).page(1))
            places[i] = seen_upright(placed, found_marks(found))
        except Refused as error:
            why = f"the page is turned by {turned} degrees, and upright: {error}"
            places[i] = replace(placed, doubts=(*placed.doubts, why))
    checked = judge(form, pages, places, eye.accept)
    body = check_body(form, checked)
    return {
        "form": form.name,
        "verdict": checked.verdict,
        "why": checked.why,
        "check": json.dumps(body),
    }
