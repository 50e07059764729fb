"""What goes wrong, as RFC 9457 has it: application/problem+json."""

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from countersign.errors import (
    Closed,
    CountersignError,
    DeadlineExceeded,
    Denied,
    Refused,
    Unavailable,
)
from countersign.pages import Encrypted, OtherKind, TooLarge

CONTENT_TYPE = "application/problem+json"
MAY_NOT = " may not "  # the front's words for a key that it knows
RETRY_S = 1  # when nothing better is known


class Problem(Exception):
    """An answer that is no success. `type` is a URN, `about:blank` where the status says it all.

    `extra` are members of their own, as value and limit of what was too large.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        type_: str = "about:blank",
        retry_after_s: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.type, self.extra = status, detail, type_, extra
        self.retry_after_s = retry_after_s

    @property
    def members(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "type": self.type,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    @property
    def headers(self) -> Mapping[str, str]:
        """Retry-After, if it is known when to come again; who asks for a key says so."""
        shown = {}
        if self.retry_after_s is not None:
            shown["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            shown["WWW-Authenticate"] = "Bearer"
        return shown

    def response(self) -> Response:
        """What is sent."""
        return Response(
            json.dumps(self.members), self.status, dict(self.headers), media_type=CONTENT_TYPE
        )


def too_large(what: str, value: int, limit: int, unit: str) -> Problem:
    """413: `what` has `value` of `unit`, more than `limit`."""
    return Problem(
        413,
        f"{what}: {value} {unit}, limit {limit}",
        f"urn:countersign:too-many-{unit}",
        value=value,
        limit=limit,
    )


def problem_of(error: CountersignError) -> Problem:
    """What an error of the client means to who asked the gateway."""
    reason = str(error)
    if isinstance(error, TooLarge):
        kind = f"urn:countersign:too-many-{error.unit}"
        value = error.value if error.value < 2**53 else float(error.value)  # orjson's limit
        return Problem(413, reason, kind, value=value, limit=error.limit)
    if isinstance(error, Encrypted):
        return Problem(422, reason, "urn:countersign:encrypted")
    if isinstance(error, OtherKind):
        return Problem(415, reason, "urn:countersign:other-kind")
    if isinstance(error, Refused):
        return refused(reason)
    if isinstance(error, Denied):
        status = 403 if MAY_NOT in reason else 401
        return Problem(status, reason, "urn:countersign:denied")
    if isinstance(error, (Unavailable, Closed)):
        wait_s = getattr(error, "retry_after_s", 0)
        return Problem(
            503,
            reason,
            "urn:countersign:unavailable",
            retry_after_s=wait_s if 0 < wait_s < math.inf else RETRY_S,
        )
    if isinstance(error, DeadlineExceeded):
        return Problem(504, reason, "urn:countersign:late")
    return Problem(502, reason, "urn:countersign:server-failed")


def refused(reason: str) -> Problem:
    """What the server would not take: a setting (400) or an image (413, 422), by its words."""
    subject = reason.rpartition("', ")[2] if reason.startswith("in ensemble") else reason
    if not subject.startswith(("image", "document", "page ")):
        return Problem(400, subject, "urn:countersign:bad-setting")
    if "limit" in subject and ("bytes" in subject or "pixels" in subject):
        return Problem(413, subject, "urn:countersign:too-large")
    return Problem(422, subject, "urn:countersign:unreadable")


async def answer_problem(_: Request, error: Exception) -> Response:
    """The handler of Problem."""
    assert isinstance(error, Problem)
    return error.response()


async def answer_client_error(_: Request, error: Exception) -> Response:
    """The handler of the client's errors."""
    assert isinstance(error, CountersignError)
    return problem_of(error).response()


async def answer_invalid(_: Request, error: Exception) -> Response:
    """The handler of FastAPI's: a parameter or a body is not of its model."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return invalid(first | {"loc": first["loc"][1:]}).response()


def invalid(error: Mapping[str, Any]) -> Problem:
    """400: the first of pydantic's errors, the place within a model at its `loc`."""
    name = ".".join(map(str, error["loc"])) or "body"
    words = f"{name}: {str(error.get('input'))[:80]!r}: {error['msg']}"
    return Problem(400, words, "urn:countersign:bad-setting")


async def answer_http_error(_: Request, error: Exception) -> Response:
    """The handler of Starlette's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    problem = Problem(error.status_code, str(error.detail))
    response = problem.response()
    response.headers.update(error.headers or {})
    return response


async def answer_fault(_: Request, error: Exception) -> Response:
    """The handler of what should not happen, which says nothing of the request."""
    return Problem(500, f"{type(error).__name__}: a fault of the gateway; its log tells").response()
