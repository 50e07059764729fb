"""Asks a gateway: documents, forms and the log over plain HTTP, for the command line."""

import http.client
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from countersign.address import Address, Tls, address
from countersign.errors import CountersignError, DeadlineExceeded, Denied, Unavailable, meant
from countersign.retries import Attempts

GATEWAY = "COUNTERSIGN_GATEWAY"
PORT = 8080


def gateway_address(
    url: str | None = None,
    tls: Tls | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Address:
    """The gateway at `url`, else at $COUNTERSIGN_GATEWAY, else on this machine.

    `url` is [http|https://]HOST[:PORT]. Raises as `address` does.
    """
    url = (os.environ.get(GATEWAY) or "127.0.0.1") if url is None else url
    scheme, mark, rest = url.rpartition("://")
    try:
        port = urlsplit(f"//{rest}").port
    except ValueError:
        port = 0  # which `address` refuses with the reason
    rest = rest.removesuffix("/")
    encrypted = scheme == "https" if mark else tls is not None
    scheme = scheme if mark else "https" if encrypted else "http"
    found = address(f"{scheme}://{rest}" + f":{PORT}" * (port is None), None, tls, headers, key)
    if found.protocol != "http":
        raise ValueError(f"gateway: {url!r}, expected [http|https://]HOST[:PORT]")
    return found


def ask_gateway(
    at: Address,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: bytes = b"",
    content_type: str = "application/octet-stream",
    timeout_s: float | None = None,
) -> bytes:
    """The body of a successful answer; what is not served for want of room is asked again.

    Raises CountersignError with the detail of the problem that the gateway answered.
    """
    target = quote(path) + (f"?{urlencode(query)}" if query else "")
    headers = {**at.headers, "Accept": "application/json"}
    if body:
        headers["Content-Type"] = content_type
    attempts = Attempts(timeout_s)
    while True:
        try:
            with answered(at, method, target, body, headers, attempts.left_s()) as content:
                return content.read()
        except CountersignError as error:
            time.sleep(attempts.pause_s(error))


class Body:
    """The body of a successful answer, to be read once. Raises CountersignError."""

    def __init__(self, response: http.client.HTTPResponse, netloc: str) -> None:
        self._response, self._netloc = response, netloc

    def read(self, size: int | None = None) -> bytes:
        """So many bytes, fewer at the end; all that is left if `size` is left out."""
        with _meaning(self._netloc):
            return self._response.read(size)


@contextmanager
def answered(
    at: Address,
    method: str,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float | None,
) -> Iterator[Body]:
    """A successful answer, while it lasts; `timeout_s` is for each part of it.

    Raises CountersignError with the detail of the problem that the gateway answered.
    """
    # slow: it takes tritonclient along
    from countersign.over_http import retry_after_s, ssl_context

    host, port = at.endpoint
    if at.tls is None:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    else:
        context = ssl_context(at.tls)
        connection = http.client.HTTPSConnection(
            host,
            port,
            timeout=timeout_s,
            context=context if isinstance(context, ssl.SSLContext) else None,
        )
    try:
        with _meaning(at.netloc):
            connection.request(method, target, body or None, dict(headers))
            response = connection.getresponse()
            refused = response.read() if response.status >= 300 else b""
        if response.status >= 300:
            told = {"Retry-After": response.headers.get("Retry-After", "")}
            raise meant(response.status, _reason(refused), at.netloc, retry_after_s(told))
        yield Body(response, at.netloc)
    finally:
        connection.close()


@contextmanager
def _meaning(netloc: str) -> Iterator[None]:
    """What an error of the connection means, as a CountersignError."""
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"{netloc}: no answer") from error
    except ssl.SSLError as error:
        raise Denied(f"{netloc}: {error.reason or error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{netloc}: {error or type(error).__name__}") from error


def _reason(content: bytes) -> str:
    """The detail of a problem, else the beginning of what it is instead."""
    try:
        problem: Any = json.loads(content)
        return str(problem["detail"])
    except (ValueError, LookupError, TypeError):
        return content[:80].decode(errors="replace").strip() or "no reason told"
