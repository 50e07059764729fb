"""`POST /detect`: one page, as the usual service answers it."""

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import answers
from gateway.asked import asked
from gateway.callers import caller_of
from gateway.descriptions import DETECTIONS, DETECTOR, takes_file
from gateway.records import one_page
from gateway.uploads import upload_of

router = APIRouter(tags=["documents"])
FIELDS = ("class", "confidence", "bbox")  # and no others, as the usual service has it


@router.post(
    "/detect",
    response_model=answers.Detections,
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="Signatures and stamps on one page",
    openapi_extra=takes_file(("dpi", *DETECTOR), DETECTIONS),
)
async def detect(request: Request) -> Response:
    """An image, or a PDF, as multipart `file` or as the body; of several pages, the first."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_document_bytes)
    wanted = asked(upload.parameters)
    state.admission.check()
    answer = await one_page(upload.data, 1, wanted, state, caller)
    rows = [{name: row[name] for name in FIELDS} for row in answer.body["detections"]]
    return Response(orjson.dumps({"detections": rows}), media_type="application/json")
