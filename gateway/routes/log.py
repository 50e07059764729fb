"""The prediction log: what was answered about a file, what to look at, what people corrected."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Annotated, Any, Literal, TypeVar

import orjson
from anyio import fail_after, to_thread
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from countersign.documents import picture_of
from countersign.pages import Bounds
from countersign.pdf import PdfProcess
from gateway import answers
from gateway.asked import DPI
from gateway.callers import LOG, caller_of, known_caller
from gateway.log import PredictionLog, export
from gateway.log.predictions import LogDown, Superseded, UnknownPage, WrongBoxes
from gateway.problems import Problem, invalid
from gateway.uploads import body_of

router = APIRouter(tags=["log"])
T = TypeVar("T")
RETRY_S = 5
PATIENCE_S = 5  # for the database
CORRECTION_MAX = 2**18  # bytes, more than 1,000 boxes take
Digest = Annotated[
    str,
    Path(pattern="^[0-9a-fA-F]{64}$", description="SHA-256 of the file's bytes, hexadecimal"),
]
PageNumber = Annotated[int, Path(ge=1, le=10**6)]
Side = Annotated[int, Field(ge=1, le=2**24, strict=True)]


class Logged(answers.Document):
    """One answer about a file, as it was given."""

    id: str
    time: str = Field(examples=["2026-11-26T21:00:00.000Z"])
    caller: str = Field(description="name of the key that asked, or anyone")
    milliseconds: float
    thresholds: dict[str, float] = Field(description="lowest score that was answered, by class")
    check: dict[str, Any] | None = Field(description="the outcome of a form's check")


class Marked(answers.Answer):
    """A box that a person drew or left."""

    class_: str = Field(alias="class", examples=["signature"])
    bbox: answers.Box = Field(description="in pixels of a page of `width` x `height`")


class Correction(answers.Answer):
    """All marks that a person says are on a page; the highest version holds."""

    page: int
    version: int
    time: str
    caller: str
    width: int
    height: int
    detections: list[Marked]


class Found(answers.Answer):
    """What `GET /v1/predictions/{sha256}` answers, the newest first."""

    sha256: str
    stored: bool = Field(description="whether the file is kept")
    total: int = Field(description="of all answers about it")
    predictions: list[Logged]
    corrections: list[Correction]


class ToLookAt(answers.Answer):
    """A page of the review queue."""

    sha256: str
    page: int
    why: list[Literal["near", "disagreeing", "random"]]
    time: str
    model: answers.ModelName
    width: int
    height: int
    detections: list[answers.PdfDetection]
    stored: bool = Field(description="whether its picture can be had")


class Queue(answers.Answer):
    """What `GET /v1/queue` answers."""

    total: int
    next: str | None = Field(description="`after` of the pages behind these")
    pages: list[ToLookAt]


class NewCorrection(BaseModel):
    """What `POST /v1/corrections` takes."""

    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    page: int = Field(ge=1, le=10**6, strict=True)
    width: Side = Field(description="of the page that the boxes are in, as the queue says it")
    height: Side
    detections: list[Marked] = Field(max_length=1000, description="all marks; none if empty")
    replaces: int | None = Field(
        None,
        ge=0,
        strict=True,
        description="the version that was seen, 0 for none; refused if there is a newer",
    )


SCHEMA = NewCorrection.model_json_schema(ref_template="#/components/schemas/{model}")
del SCHEMA["$defs"]  # which the answers' schemas have


class Corrected(Correction):
    """What `POST /v1/corrections` answers."""

    sha256: str


@router.get(
    "/v1/predictions/{sha256}",
    response_model=Found,
    responses=answers.problems(400, 401, 404, 503),
    summary="What was answered about a file",
)
async def predictions(
    request: Request,
    sha256: Digest,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    skip: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Response:
    """All answers about it, the newest first, and all corrections of its pages."""
    log = await log_of(request)
    found = await read(request, lambda: log.find(sha256.lower(), limit, skip))
    if not found["total"]:
        raise Problem(404, "sha256: the log has no answer about this file")
    return json_response(found)


@router.get(
    "/v1/queue",
    response_model=Queue,
    responses=answers.problems(400, 401, 404, 503),
    summary="Pages that a person should look at",
)
async def queue(
    request: Request,
    why: Literal["near", "disagreeing", "random"] | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Pages that nobody has corrected, each once, the newest first.

    `near`: a score within 0.1 of its class's threshold, or a zone that a form's check sends to
    review. `disagreeing`: other marks than in the last answer about the page, or than the PDF says
    of itself. `random`: drawn by its digest.
    """
    log = await log_of(request)
    try:
        return json_response(await read(request, lambda: log.queue(why, limit, after)))
    except ValueError as error:
        raise Problem(400, str(error), "urn:countersign:bad-setting") from None


@router.post(
    "/v1/corrections",
    status_code=201,
    response_model=Corrected,
    responses=answers.problems(400, 401, 404, 409, 413, 422, 503),
    summary="Say what is on a page",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}
    },
)
async def corrections(request: Request) -> Response:
    """Stored beside the answer, which stays as it is, as the page's next version."""
    log = await log_of(request)
    caller = caller_of(request)
    correction = await correction_of(request)
    boxes = [{"class": mark.class_, "bbox": list(mark.bbox)} for mark in correction.detections]
    size = correction.width, correction.height
    try:
        stored = await read(
            request,
            lambda: log.correct(
                correction.sha256.lower(),
                correction.page,
                size,
                boxes,
                caller.name,
                correction.replaces,
            ),
        )
    except UnknownPage as error:
        raise Problem(404, f"page: {error}") from None
    except WrongBoxes as error:
        raise Problem(422, str(error), "urn:countersign:bad-boxes") from None
    except Superseded as error:
        raise Problem(
            409, f"replaces: {error}", "urn:countersign:superseded", version=error.version
        ) from None
    return json_response(stored, 201)


@router.get(
    "/v1/pages/{sha256}/{page}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The page as it is shown"},
        **answers.problems(400, 401, 404, 422, 429, 503),
    },
    summary="The picture of a stored page",
)
async def picture(
    request: Request,
    sha256: Digest,
    page: PageNumber,
    dpi: Annotated[int, Query(ge=DPI[0], le=DPI[1])] = 150,
) -> Response:
    """A JPEG in the frame of the page's boxes."""
    log = await log_of(request)
    state = request.app.state
    content = await read(request, lambda: log.content(sha256.lower()))
    if content is None:
        turned_on = "" if log.store else "; --store DIR keeps files from then on"
        raise Problem(404, f"sha256: this file is not stored{turned_on}")
    async with state.pdfs.lent() as process:
        image = await to_thread.run_sync(
            picture_of, content, page, dpi, state.settings.bounds, process
        )
    return Response(image, media_type="image/jpeg")


@router.get(
    "/v1/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-tar": {}}, "description": "A tar"},
        **answers.problems(401, 404, 503),
    },
    summary="Corrected pages as data to train on",
)
async def exported(request: Request) -> Response:
    """A YOLO folder and a COCO folder of the stored pages that were corrected."""
    log = await log_of(request)
    if log.store is None:
        raise Problem(404, "store: off, so there are no pages to export; --store DIR keeps files")
    first = await read(request, lambda: next(log.corrected(), None))
    if first is None:
        raise Problem(404, "no page was corrected yet")
    settings = request.app.state.settings
    return StreamingResponse(
        tar(log, settings.bounds, settings.dpi), media_type="application/x-tar"
    )


def tar(log: PredictionLog, bounds: Bounds, dpi: int) -> Iterator[bytes]:
    """The export, piece by piece. It ends short, which readers of a tar notice, if the log does."""
    with closing(PdfProcess(bounds)) as process:

        def draw(correction: Mapping[str, Any]) -> export.Picture | None:
            content = log.content(correction["sha256"])
            if content is None:
                return None
            return export.page_picture(content, correction, dpi, bounds, process)

        yield from export.archive(export.members(log.corrected(), draw))


async def correction_of(request: Request) -> NewCorrection:
    """What the body says. Raises Problem 400, 413. FastAPI would read it before anybody's key."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(400, "content-type: expected application/json")
    body = await body_of(request, CORRECTION_MAX, CORRECTION_MAX, "body")
    try:
        return NewCorrection.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors()[0]) from None


async def log_of(request: Request) -> PredictionLog:
    """The log, for who may read it. Raises Problem 401; 404 if there is none."""
    await known_caller(request, LOG)
    log = request.app.state.log
    if log is None:
        raise Problem(404, "log: off; --log 1 turns it on")
    return log


async def read(request: Request, call: Callable[[], T]) -> T:
    """What `call` gives, in a thread of those for the log. Raises Problem 503 if it is down."""
    state = request.app.state
    try:
        with fail_after(PATIENCE_S):
            return await to_thread.run_sync(call, abandon_on_cancel=True, limiter=state.log_readers)
    except (LogDown, TimeoutError) as error:
        reason = str(error) or f"no answer within {PATIENCE_S} s"
        raise Problem(
            503, f"log: {reason}", "urn:countersign:log-down", retry_after_s=RETRY_S
        ) from None


def json_response(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
