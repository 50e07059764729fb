"""`POST /detect`: one page, as the usual service answers it."""

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from countersign.messages import DETECTOR, to_detections
from gateway import answers
from gateway.asked import asked
from gateway.callers import caller_of
from gateway.documents import detection_rows
from gateway.uploads import upload_of

router = APIRouter(tags=["documents"])


@router.post(
    "/detect",
    response_model=answers.Detections,
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="Signatures and stamps on one page",
)
async def detect(request: Request) -> Response:
    """An image as multipart `file` or as the body; of several pages, the first."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_image_bytes)
    wanted = asked(upload.parameters)
    state.admission.check()
    async with state.admission.page():
        reply = await state.tritons.infer(
            DETECTOR, upload.data, wanted.detector, caller.key, state.settings.timeout_s
        )
    rows = detection_rows(to_detections(reply, 1))
    return Response(orjson.dumps({"detections": rows}), media_type="application/json")
