"""`GET /v1/models`, and `POST /v1/read`: a CAPTCHA."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from countersign.messages import READER, to_reading
from gateway import answers
from gateway.callers import caller_of
from gateway.uploads import upload_of

router = APIRouter(tags=["models"])


@router.get(
    "/v1/models",
    response_model=answers.Models,
    responses=answers.problems(401, 503, 504),
    summary="What the servers have",
)
async def models(request: Request) -> Any:
    """Detectors and readers with version and operating points."""
    caller = caller_of(request)
    detectors: list[dict[str, Any]] = []
    readers: list[dict[str, Any]] = []
    for model in await request.app.state.tritons.models(caller.key):
        known = {"name": model.name, "version": str(model.version)}
        if isinstance(model.confidence, Mapping):
            points = {"accept": model.confidence, "review": model.review or model.confidence}
            detectors.append({**known, "classes": list(model.confidence), "thresholds": points})
        else:
            readers.append({**known, "threshold": model.confidence})
    return {"detectors": detectors, "readers": readers}


@router.post(
    "/v1/read",
    response_model=answers.Reading,
    responses=answers.problems(400, 401, 413, 422, 429, 503, 504),
    summary="The digits of a CAPTCHA of your own portal",
)
async def read(request: Request) -> Any:
    """An image as multipart `file` or as the body."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_image_bytes)
    async with state.admission.page():
        reply = await state.tritons.infer(
            READER, upload.data, {}, caller.key, state.settings.timeout_s
        )
    return asdict(to_reading(reply))
