"""Each request, watched: counted, timed, told, and bounded in what all hold in memory."""

import json
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import Metrics
from gateway.problems import Problem
from gateway.traces import REQUEST_ID, Traces, id_of

RETRY_S = 1
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Watch:
    """ASGI middleware. Bodies that are held together have at most `most` bytes.

    `tells` writes a line of JSON to stdout for each request.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, most: int, traces: Traces, tells: bool
    ) -> None:
        self._app, self._metrics, self._most = app, metrics, most
        self._traces, self._tells = traces, tells
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        if from_elsewhere(scope):
            refusal = Problem(403, "sec-fetch-site: cross-site, a page of another site may not ask")
            await refusal.response()(scope, receive, send)
            return
        try:
            request_id = id_of(scope)
        except Problem as refusal:
            await refusal.response()(scope, receive, send)
            return
        REQUEST_ID.set(request_id)
        status = 499  # of a client that went away before it was answered
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            if size := len(message.get("body", b"")):
                if self._held + size > self._most:
                    raise Problem(
                        503,
                        f"busy: uploads of {self._held} bytes are held, limit {self._most}",
                        "urn:countersign:busy",
                        retry_after_s=RETRY_S,
                    )
                self._held += size
                held += size
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(one for one in HEADERS if one[0] not in names),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            with self._traces.span(scope, request_id):
                await self._app(scope, counted, sent)
        finally:
            self._held -= held
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            took_s = time.perf_counter() - began
            self._metrics.seconds.labels(route).observe(took_s)
            if self._tells:
                told = {"id": request_id, "method": scope["method"], "route": route}
                tell(told | {"status": status, "milliseconds": round(took_s * 1000, 1)})


def tell(record: dict) -> None:
    """Writes a line of JSON to stdout; nobody need read it."""
    with suppress(OSError, ValueError):
        print(json.dumps(record) + "\n", end="", flush=True)


def from_elsewhere(scope: Scope) -> bool:
    """Whether a browser sends this for a page of another site, which no person asked for.

    Such a page cannot read the answer, but could fill the log and store corrections.
    """
    return scope["method"] != "GET" and (b"sec-fetch-site", b"cross-site") in scope["headers"]
