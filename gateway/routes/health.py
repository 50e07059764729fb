"""`GET /healthz`, `/readyz`, `/metrics`."""

import asyncio
import struct
import time
import zlib
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from countersign.errors import CountersignError, Denied
from gateway import answers
from gateway.problems import Problem, problem_of

router = APIRouter(tags=["health"])
LATELY_S = 15  # that an inference's answer proves the servers well


@router.get("/healthz", response_model=answers.Health, summary="Is the gateway alive?")
async def healthz() -> Any:
    """Answers as long as the gateway does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    response_model=answers.Health,
    responses=answers.problems(503),
    summary="Are pages answered?",
)
async def readyz(request: Request) -> Any:
    """200 if a real inference was answered within 15 s; else one is tried."""
    tritons = request.app.state.tritons
    async with request.app.state.ready_lock:  # many that ask at once try once
        if time.monotonic() - tritons.answered_at > LATELY_S:
            try:
                await tritons.check_alive(white_page())
            except Denied:
                pass  # the front is there, and asks for a key that the gateway does not have
            except CountersignError as error:
                raise Problem(503, f"not ready: {problem_of(error).detail}") from error
    return {"status": "ready"}


@router.get("/metrics", summary="For Prometheus")
async def metrics(request: Request) -> Response:
    """Counters and times, in Prometheus's text format."""
    known = request.app.state.metrics
    admission = request.app.state.admission
    known.waiting.set(admission.pages)
    known.under_way.set(admission.under_way)
    text = await asyncio.to_thread(generate_latest, known.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def white_page() -> bytes:
    """A PNG (W3C PNG, third edition) of 64 x 64 white pixels, grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        code = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + code

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + b"\xff" * 64) * 64))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")
