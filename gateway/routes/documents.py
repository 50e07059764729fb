"""`POST /v1/documents`: all pages of a file."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from countersign.documents import open_document_async
from countersign.messages import DETECTOR
from gateway import answers
from gateway.asked import asked
from gateway.callers import caller_of
from gateway.documents import answer_document
from gateway.uploads import upload_of

router = APIRouter(tags=["documents"])
NDJSON = "application/x-ndjson"


@router.post(
    "/v1/documents",
    response_model=answers.Document,
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="Signatures and stamps on all pages of a file",
)
async def documents(request: Request) -> Response:
    """A PDF, a TIFF of several pages or an image, as multipart `file` or as the body."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_document_bytes)
    wanted = asked(upload.parameters)
    document = await open_document_async(upload.data)
    head = {
        "sha256": hashlib.sha256(upload.data).hexdigest(),
        "bytes": len(upload.data),
        "kind": document.kind,
        "page_count": document.page_count,
        "model": {"name": DETECTOR, "version": await state.tritons.version(caller.key)},
        "operating_point": wanted.operating_point,
    }
    pages = answer_document(
        document, wanted, state.settings, state.tritons, state.admission, caller.key
    )
    if NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(lines(head, pages), media_type=NDJSON)
    found = {answer.number: answer.body async for answer in pages}
    body = {**head, "pages": [found[number] for number in sorted(found)]}
    return Response(orjson.dumps(body), media_type="application/json")


async def lines(head: dict[str, Any], pages: Any) -> AsyncIterator[bytes]:
    """NDJSON: the head, a line a page, and what came to be."""
    yield orjson.dumps(head) + b"\n"
    done = errors = detections = 0
    async with aclosing(pages):
        async for answer in pages:
            done += 1
            errors += "error" in answer.body
            detections += len(answer.body.get("detections", ()))
            yield orjson.dumps(answer.body) + b"\n"
    counts = {"pages": done, "errors": errors, "detections": detections}
    yield orjson.dumps({"done": True, **counts}) + b"\n"
