"""Asks a gateway: documents, forms and the log over plain HTTP, for the command line."""

import http.client
import json
import os
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from countersign.address import Address, Tls, address
from countersign.errors import CountersignError, DeadlineExceeded, Denied, Unavailable, meant
from countersign.over_http import retry_after_s, ssl_context
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
            return _once(at, method, target, body, headers, attempts.left_s())
        except CountersignError as error:
            time.sleep(attempts.pause_s(error))


def _once(
    at: Address,
    method: str,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float | None,
) -> bytes:
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
        connection.request(method, target, body or None, dict(headers))
        response = connection.getresponse()
        content = response.read()
    except TimeoutError as error:
        raise DeadlineExceeded(f"{at.netloc}: no answer") from error
    except ssl.SSLError as error:
        raise Denied(f"{at.netloc}: {error.reason or error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{at.netloc}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if response.status >= 300:
        told = {"Retry-After": response.headers.get("Retry-After", "")}
        raise meant(response.status, _reason(content), at.netloc, retry_after_s(told))
    return content


def _reason(content: bytes) -> str:
    """The detail of a problem, else the beginning of what it is instead."""
    try:
        problem: Any = json.loads(content)
        return str(problem["detail"])
    except (ValueError, LookupError, TypeError):
        return content[:80].decode(errors="replace").strip() or "no reason told"
