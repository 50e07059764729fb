"""The JSON that the gateway answers, for its OpenAPI description and for who builds on it.

Answers are written as plain dictionaries of these shapes: validating thousands of boxes would cost
more than finding them in the reply did.
"""

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Box = Annotated[
    tuple[float, float, float, float], Field(description="x0, y0, x1, y1 from the top left")
]


class Answer(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(populate_by_name=True)


class Detection(Answer):
    """One signature or stamp."""

    class_: str = Field(alias="class", examples=["signature"])
    confidence: float = Field(ge=0, le=1, examples=[0.93])
    bbox: Box = Field(description="in pixels of the page as it is shown")


class PdfDetection(Detection):
    """One signature or stamp, with its place on the sheet where it is a PDF's."""

    bbox_points: Box | None = Field(
        None, description="in points (1/72 inch) of the page as it is shown, top left first; PDF"
    )


class Detections(Answer):
    """What `POST /detect` answers."""

    detections: list[Detection]


class Mark(Answer):
    """What a PDF itself says is there: a stamp annotation."""

    name: str
    bbox_points: Box | None


class SignatureField(Mark):
    """A field for a digital signature; one without a place on the page is invisible."""

    signed: bool


class ProblemAnswer(Answer):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:countersign:too-many-pages"])
    title: str = Field(examples=["Request Entity Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(examples=["document: 100000 pages, limit 2000"])


class Page(Answer):
    """One page: its marks, or its error alone."""

    page: int = Field(ge=1)
    width: int | None = Field(None, description="in pixels, of what the model saw")
    height: int | None = None
    width_points: float | None = Field(None, description="PDF alone, as the page is shown")
    height_points: float | None = None
    detections: list[PdfDetection] | None = None
    signature_fields: list[SignatureField] | None = None
    stamp_annotations: list[Mark] | None = None
    milliseconds: float | None = Field(None, description="that drawing and finding took")
    error: ProblemAnswer | None = None


class ModelName(Answer):
    """Which model answered."""

    name: str = Field(examples=["document_detector"])
    version: str = Field(examples=["6"])


class Document(Answer):
    """What `POST /v1/documents` answers; as NDJSON the pages follow, one a line."""

    sha256: str
    bytes: int
    kind: str = Field(examples=["pdf", "image"])
    page_count: int
    model: ModelName
    operating_point: str = Field(examples=["accept"])
    pages: list[Page]


class Done(Answer):
    """The last line of NDJSON; a document without it was cut short."""

    done: bool = True
    pages: int
    errors: int
    detections: int


class Reading(Answer):
    """The text of a CAPTCHA. Use it if `certain`."""

    text: str = Field(examples=["604913"])
    confidence: float
    digit_confidence: list[float]
    certain: bool
    threshold: float


class PredictionError(Answer):
    """As Google's services tell an error."""

    code: int = Field(description="HTTP status", examples=[422])
    message: str
    status: str = Field(description="a name of google.rpc.Code", examples=["INVALID_ARGUMENT"])


class Prediction(Page):
    """One page of one instance: its marks, or its error alone."""

    page: int = 1
    error: PredictionError | None = None  # type: ignore[assignment]


class Predictions(Answer):
    """What `predict_route` answers, in the order of the instances."""

    predictions: list[Prediction]


class Thresholds(Answer):
    """The lowest score of each class that is answered, by operating point."""

    accept: dict[str, float]
    review: dict[str, float]


class Detector(ModelName):
    """What finds marks."""

    classes: list[str]
    thresholds: Thresholds


class Reader(ModelName):
    """What reads digits; `certain` from this threshold on."""

    threshold: float | None


class Models(Answer):
    """What `GET /v1/models` answers."""

    detectors: list[Detector]
    readers: list[Reader]


class Zone(Answer):
    """Where a form wants marks."""

    name: str
    page: int = Field(description="of the form")
    class_: str = Field(alias="class", examples=["signature"])
    count: int
    required: bool


class FormZone(Zone):
    """A zone of a form."""

    box: Box = Field(description="fractions of the form's page")


class Form(Answer):
    """A form that documents can be checked for."""

    name: str
    title: str
    pages: int = Field(description="how many of its pages have zones")
    zones: list[FormZone]


class BrokenForm(Answer):
    """A file that is no form."""

    name: str
    why: str


class Forms(Answer):
    """What `GET /v1/forms` answers."""

    forms: list[Form]
    broken: list[BrokenForm]


class PlacedPage(Answer):
    """Where a page of the form is in the document."""

    page: int = Field(description="of the form")
    document_page: int | None
    matched: bool
    turned: int = Field(description="degrees clockwise: 0, 90, 180 or 270")
    agreement: float | None = Field(description="of its print with the blank page's, 1 is all")
    why: str = Field(description="what is doubtful; empty if nothing is")


class CountedDetection(Detection):
    """A mark that is counted for a zone."""

    inside: float = Field(description="share of it in the zone")
    distance: float = Field(description="from the zone, as a share of the page's height")
    doubts: list[str] = Field(description="why a person should look; empty if nobody need")


class CheckedZone(Zone):
    """What a zone shows."""

    document_page: int | None
    verdict: str = Field(description="complete, missing, review, or empty: nothing required")
    why: str
    polygon: list[tuple[float, float]] | None = Field(description="pixels of the document's page")
    detections: list[CountedDetection]


class FormCheck(Answer):
    """What a document shows of a form."""

    form: str
    title: str
    verdict: str = Field(examples=["complete", "missing", "review"])
    why: str
    pages: list[PlacedPage]
    zones: list[CheckedZone]
    extra_pages: list[int] = Field(description="pages of the document that are not the form's")


class CheckedDocument(Document):
    """What `POST /v1/check` answers."""

    check: FormCheck


class LearnedForm(Answer):
    """What `POST /v1/forms/learn` answers."""

    name: str
    yaml: str
    references: dict[str, str] = Field(description="PNG files of blank pages, base64, by name")


class Health(Answer):
    """What `GET /healthz` and `GET /readyz` answer."""

    status: str = Field(examples=["ok"])


EXAMPLES = {  # of problems: type and detail, and what else they have
    400: ("bad-setting", "confidence: '2', limit 0 to 1", {}),
    401: ("denied", "authorization: expected Bearer and a key", {}),
    413: (
        "too-many-pages",
        "document: 100000 pages, limit 2000",
        {"value": 100_000, "limit": 2000},
    ),
    415: ("other-kind", "document: 900 bytes, begins b'GIF89a', expected a PDF, JPEG ...", {}),
    422: ("encrypted", "document: an encrypted PDF, which asks for a password", {}),
    429: ("busy", "busy: 96 pages are waiting or under way, limit 96", {}),
    503: ("unavailable", "127.0.0.1:8001: connection refused", {}),
    504: ("late", "127.0.0.1:8001: no answer within 30 s", {}),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these problems."""
    return {
        status: {"description": HTTPStatus(status).phrase, **problem_shown(status)}
        for status in statuses
    }


def problem_shown(status: int) -> dict[str, Any]:
    """How OpenAPI shows a problem."""
    kind, detail, extra = EXAMPLES.get(status, ("", HTTPStatus(status).phrase, {}))
    title = HTTPStatus(status).phrase
    type_ = f"urn:countersign:{kind}" if kind else "about:blank"
    example = {"type": type_, "title": title, "status": status}
    schema = ProblemAnswer.model_json_schema()
    content = {"schema": schema, "example": {**example, "detail": detail, **extra}}
    shown: dict[str, Any] = {"content": {"application/problem+json": content}}
    if status in (429, 503):
        seconds = {"description": "seconds until then", "schema": {"type": "integer"}}
        shown["headers"] = {"Retry-After": seconds}
    return shown
