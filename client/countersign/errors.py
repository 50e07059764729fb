"""What can go wrong with a call, and which status of the server means what.

Catch CountersignError for all of it.
"""

import math
from typing import TypeVar


class CountersignError(Exception):
    """The call failed; the message says why. Raised itself when the server is at fault."""

    request_id: str = ""  # by which the server's log knows the request, if there was one


class Refused(CountersignError):
    """The image or a setting is no good, said by the server or found before sending."""


class Denied(CountersignError):
    """Client and server do not trust each other: a key, header or certificate is at fault."""


class Unavailable(CountersignError):
    """No server could be reached, or it took no more, for as long as the deadline allowed."""

    retry_after_s: float = 0  # when the server wants to be asked again; infinite for never


class DeadlineExceeded(CountersignError):
    """No answer within `timeout_s`."""


class Closed(CountersignError):
    """The client was closed before or during the call."""


Kind = type[CountersignError]

GRPC: dict[str, Kind] = {  # by the name of grpc.StatusCode, all but OK
    "CANCELLED": Unavailable,  # by a proxy that took no more, in mid-upload
    "UNKNOWN": CountersignError,
    "INVALID_ARGUMENT": Refused,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": Refused,  # no such model
    "ALREADY_EXISTS": CountersignError,
    "PERMISSION_DENIED": Denied,
    "UNAUTHENTICATED": Denied,
    "RESOURCE_EXHAUSTED": Unavailable,  # but WORDS
    "FAILED_PRECONDITION": CountersignError,
    "ABORTED": Unavailable,
    "OUT_OF_RANGE": Refused,
    "UNIMPLEMENTED": CountersignError,
    "INTERNAL": CountersignError,
    "UNAVAILABLE": Unavailable,
    "DATA_LOSS": CountersignError,
}
HTTP: dict[int, Kind] = {  # every status from 400 on that Python knows
    400: Refused,
    401: Denied,
    402: CountersignError,
    403: Denied,
    404: Refused,  # no such model
    405: CountersignError,
    406: CountersignError,
    407: Denied,
    408: Unavailable,  # the upload was too slow
    409: CountersignError,
    410: CountersignError,
    411: CountersignError,
    412: CountersignError,
    413: Refused,
    414: Refused,
    415: CountersignError,
    416: CountersignError,
    417: CountersignError,
    418: CountersignError,
    421: CountersignError,
    422: Refused,
    423: CountersignError,
    424: CountersignError,
    425: Unavailable,
    426: CountersignError,
    428: CountersignError,
    429: Unavailable,
    431: Refused,
    451: Denied,
    500: CountersignError,
    501: CountersignError,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
    505: CountersignError,
    506: CountersignError,
    507: CountersignError,
    508: CountersignError,
    510: CountersignError,
    511: Denied,
}
WORDS: tuple[tuple[str, Kind], ...] = (  # these tell more than the status that they come with
    ("is restricted, expecting header", Denied),  # Triton over gRPC: UNAVAILABLE
    # Triton that is stopping: HTTP 400, gRPC NOT_FOUND
    ("has no available versions", Unavailable),
    ("message larger than max", Refused),  # gRPC: RESOURCE_EXHAUSTED
    ("Payload Too Large", Refused),  # a front over gRPC: likewise
    # OpenSSL's, over gRPC: UNAVAILABLE
    ("CERTIFICATE_VERIFY_FAILED", Denied),
    ("CERTIFICATE_REQUIRED", Denied),
    ("WRONG_VERSION_NUMBER", Denied),  # the server speaks no TLS
)

Error = TypeVar("Error", bound=BaseException)


def meant(status: str | int, reason: str, url: str, retry_after_s: float = 0) -> CountersignError:
    """The error that a gRPC status ("UNAVAILABLE") or an HTTP status (503) of `url` stands for."""
    kind = GRPC.get(status) if isinstance(status, str) else HTTP.get(status)
    kind = next((one for words, one in WORDS if words in reason), kind or CountersignError)
    if kind is Refused:
        return Refused(reason)  # the server's words name the input; where it runs is no matter
    error = kind(f"{url}: {reason}")
    if isinstance(error, Unavailable):
        error.retry_after_s = retry_after_s
    return error


def closed(url: str) -> Closed:
    """The error of a client that is closed."""
    return Closed(f"{url}: the client is closed")


def unavailable_for_good(reason: str) -> Unavailable:
    """The error of what time does not mend, and which is not tried again."""
    error = Unavailable(reason)
    error.retry_after_s = math.inf
    return error


def without_frames(error: Error) -> Error:
    """`error` and its causes without the frames that they passed, which hold image and request."""
    error.__traceback__ = None
    for cause in (error.__cause__, error.__context__):
        if cause is not None and cause.__traceback__ is not None:
            without_frames(cause)
    return error
