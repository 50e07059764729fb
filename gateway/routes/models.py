"""`GET /v1/models`, and `POST /v1/read`: a CAPTCHA."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from countersign.messages import READER, to_reading
from gateway import answers
from gateway.callers import caller_of, known_caller
from gateway.descriptions import MODELS, READING, examples, takes_file
from gateway.documents import sha256
from gateway.log import Entry
from gateway.problems import Problem
from gateway.uploads import upload_of

router = APIRouter(tags=["models"])


@router.get(
    "/v1/models",
    response_model=answers.Models,
    responses=answers.problems(401, 503, 504),
    summary="What the servers have",
    openapi_extra=examples(MODELS),
)
async def models(request: Request) -> Any:
    """Detectors and readers with version and operating points."""
    caller = await known_caller(request)
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
    responses=answers.problems(400, 401, 413, 415, 422, 429, 503, 504),
    summary="The digits of a CAPTCHA of your own portal",
    openapi_extra=takes_file(example=READING),
)
async def read(request: Request) -> Any:
    """An image as multipart `file` or as the body."""
    state = request.app.state
    caller = caller_of(request)
    state.admission.check()
    upload = await upload_of(request, state.settings.max_image_bytes)
    if upload.data.startswith(b"%PDF-"):
        raise Problem(415, "document: a PDF, expected an image", "urn:countersign:other-kind")
    model = await state.tritons.model(caller.key, READER)
    began = time.perf_counter()
    async with state.admission.page():
        reply = await state.tritons.infer(
            READER, upload.data, {}, caller.key, state.settings.timeout_s
        )
    reading = asdict(to_reading(reply))
    if state.log is not None:
        state.log.put(
            Entry(
                document={
                    "sha256": await sha256(upload.data),
                    "bytes": len(upload.data),
                    "kind": "image",
                    "page_count": 1,
                    "model": {"name": model.name, "version": str(model.version)},
                    "pages": [{"page": 1, **reading}],
                },
                caller=caller.name,
                milliseconds=round((time.perf_counter() - began) * 1000, 1),
                content=upload.data,
            )
        )
    return reading
