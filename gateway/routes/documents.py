"""`POST /v1/documents`: all pages of a file. `POST /v1/render`: the picture of one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import orjson
from anyio import fail_after
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from countersign.documents import picture_of
from countersign.errors import CountersignError
from gateway import answers
from gateway.asked import DPI, asked, bad, whole
from gateway.callers import known_caller
from gateway.descriptions import DETECTOR, DOCUMENT, takes_file
from gateway.documents import PageAnswer, answer_document, opened
from gateway.problems import problem_of
from gateway.records import Record, begun
from gateway.uploads import upload_of

router = APIRouter(tags=["documents"])
NDJSON = "application/x-ndjson"
RENDER_DPI = 100


@router.post(
    "/v1/documents",
    response_model=answers.Document,
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="Signatures and stamps on all pages of a file",
    openapi_extra=takes_file(("pages", "dpi", *DETECTOR), DOCUMENT),
)
async def documents(request: Request) -> Response:
    """A PDF, a TIFF of several pages or an image, as multipart `file` or as the body.

    A page that fails has an `error` in place of its marks, and fails no other. With
    `Accept: application/x-ndjson` the pages come as they get ready: a first line with all but
    `pages`, a line a page, a last one with `"done": true` and counts.
    """
    state = request.app.state
    caller = await known_caller(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_document_bytes)
    wanted = asked(upload.parameters)
    state.admission.check()
    async with AsyncExitStack() as stack:
        document = await stack.enter_async_context(opened(upload.data, wanted, state))
        wanted.numbers(document.page_count)
        record = await begun(document, upload.data, wanted, state, caller)
        pages = answer_document(document, wanted, state, caller.key)
        stack.push_async_callback(pages.aclose)
        stack.callback(record.put)
        if NDJSON in request.headers.get("accept", ""):
            limit_s = state.settings.document_timeout_s + state.settings.timeout_s
            return Lines(ndjson(pages, record), stack.pop_all(), limit_s)
        async for answer in pages:
            record.pages.append(answer.body)
        return Response(orjson.dumps(record.document), media_type="application/json")


class Lines(StreamingResponse):
    """NDJSON; `stack` ends with it, whether or not it was sent, after `limit_s` at the latest."""

    def __init__(self, lines: AsyncIterator[bytes], stack: AsyncExitStack, limit_s: float) -> None:
        super().__init__(lines, media_type=NDJSON)
        self._stack, self._limit_s = stack, limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        async with self._stack:
            with fail_after(self._limit_s):  # who does not read holds a process of PDFs
                await super().__call__(scope, receive, send)


async def ndjson(pages: AsyncIterator[PageAnswer], record: Record) -> AsyncIterator[bytes]:
    """The head, a line a page, and what came to be."""
    yield orjson.dumps(record.head) + b"\n"
    try:
        async for answer in pages:
            record.pages.append(answer.body)
            yield orjson.dumps(answer.body) + b"\n"
    except CountersignError as error:
        yield orjson.dumps({"error": problem_of(error).members}) + b"\n"
        return
    yield orjson.dumps({"done": True, **record.counts}) + b"\n"


@router.post(
    "/v1/render",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The page as it is shown"},
        **answers.problems(400, 401, 413, 415, 422, 429),
    },
    summary="The picture of one page of a file",
    openapi_extra=takes_file(("page", "dpi")),
)
async def render(request: Request) -> Response:
    """A JPEG of page `page` at `dpi`, in the frame of the page's `bbox`; nothing is kept."""
    state = request.app.state
    await known_caller(request)
    upload = await upload_of(request, state.settings.max_document_bytes)
    unknown = upload.parameters.keys() - {"page", "dpi"}
    if unknown:
        raise bad("parameter", min(unknown), "unknown, known are dpi, page")
    number = whole("page", upload.parameters.get("page", "1"), 1, 10**6)
    dpi = whole("dpi", upload.parameters.get("dpi", str(RENDER_DPI)), *DPI)
    async with state.pdfs.lent() as process:
        image = await asyncio.to_thread(
            picture_of, upload.data, number, dpi, state.settings.bounds, process
        )
    return Response(image, media_type="image/jpeg")
