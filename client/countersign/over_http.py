"""HTTP: how the server is called, and what its failures mean."""

import asyncio
import json
import os
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import tritonclient.http
from tritonclient.utils import InferenceServerException

from countersign.address import Address, Tls
from countersign.errors import (
    CountersignError,
    DeadlineExceeded,
    Denied,
    Kind,
    Unavailable,
    closed,
    meant,
    unavailable_for_good,
)
from countersign.lifetimes import cancelled, renew_after_fork
from countersign.messages import NO_HEADERS, Config, Infer, Request, id_headers

JSON_LENGTH = "Inference-Header-Content-Length"  # of the JSON that tensors follow
NO_PATH = "no such path"  # of the server's other ports
REASON_MAX = 500  # characters of an error page
FAILURES: tuple[tuple[type[Exception], Kind], ...] = (  # the first that fits
    (asyncio.TimeoutError, DeadlineExceeded),
    (aiohttp.ClientSSLError, Denied),
    (aiohttp.ClientConnectionError, Unavailable),
    (aiohttp.ClientPayloadError, Unavailable),
    (aiohttp.ClientResponseError, Unavailable),  # what came was not HTTP
    (aiohttp.ClientError, CountersignError),
    (OSError, Unavailable),
    (RuntimeError, CountersignError),  # as of a loop that has ended
)
triton = tritonclient.http.InferenceServerClient


class AsyncHttpConnection:
    """For the one event loop of its first call."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._root = f"{'https' if address.tls else 'http'}://{address.netloc}"
        self._ssl = ssl_context(address.tls)
        self._session: aiohttp.ClientSession | None = None  # made inside the loop
        self._closed = asyncio.Event()
        self._replies: set[asyncio.Task] = set()  # of the calls under way

    async def send(
        self, request: Request, timeout_s: float | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> Any:
        """The reply; `headers` go with it beside the address's own. Raises CountersignError."""
        if self._closed.is_set():
            raise closed(self._address.netloc)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                headers=self._address.headers,
                trust_env=False,  # no proxy of the environment gets pages or keys
            )
        reply = asyncio.create_task(self._reply(self._session, request, headers))
        self._replies.add(reply)
        try:
            return await asyncio.wait_for(reply, timeout_s)
        except asyncio.CancelledError as error:
            if self._closed.is_set() and not cancelled():
                raise closed(self._address.netloc) from error
            raise
        except tuple(failure for failure, _ in FAILURES) as error:
            if self._closed.is_set():
                raise closed(self._address.netloc) from error
            raise translated(error, self._address) from error
        finally:
            self._replies.discard(reply)

    async def pause(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Closed."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
            raise closed(self._address.netloc)

    async def close(self) -> None:
        """Calls under way raise Closed."""
        self._closed.set()
        for reply in self._replies:
            reply.cancel()
        if self._session is not None:
            await self._session.close()

    async def _reply(
        self, session: aiohttp.ClientSession, request: Request, shown: Mapping[str, str]
    ) -> Any:
        method, path, body, headers = to_http(request)
        url = f"{self._root}/v2/{path}"
        async with session.request(
            method, url, data=body, headers={**headers, **shown}, allow_redirects=False
        ) as response:
            content = await response.read()
            if response.status != 200:
                raise refused(response.status, content, response.headers, self._address)
            try:
                if isinstance(request, Infer):
                    json_length = response.headers.get(JSON_LENGTH)
                    return triton.parse_response_body(content, header_length=json_length)
                return json.loads(content)
            except (ValueError, LookupError, InferenceServerException) as error:
                reason = f"{content[:20]!r}, not a reply of Triton's: another server's port?"
                raise unavailable_for_good(f"{self._address.netloc}: {reason}") from error


class HttpConnection:
    """For any number of threads, and in the children of a fork: a loop in a thread of its own.

    tritonclient's blocking HTTP client belongs to one thread and knows no deadline for a call.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        ssl_context(address.tls)  # raises before the first call
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._loops: list[_Loop] = []
        self._running: _Loop | None = None  # the last loop
        renew_after_fork(self)

    def renew(self) -> None:
        """Made for a child of fork, which does not have the loop's thread.

        Nor may the loop be freed there: its connections are watched by a descriptor that parent
        and child share.
        """
        self._lock = threading.Lock()
        if self._running is not None:
            self._running.finish.detach()
            self._running = None

    def send(self, request: Request, timeout_s: float | None) -> Any:
        """The reply. Raises CountersignError."""
        with self._lock:
            if self._closed.is_set():
                raise closed(self._address.netloc)
            if self._running is None:
                self._running = _Loop(self._address)
                self._loops.append(self._running)
            answer = self._running.connection.send(request, timeout_s)
            future = asyncio.run_coroutine_threadsafe(answer, self._running.loop)
        try:
            return future.result()
        finally:
            future.cancel()  # an interrupted caller leaves no request behind

    def pause(self, seconds: float) -> None:
        """Returns after so many seconds. Raises Closed."""
        if self._closed.wait(seconds):
            raise closed(self._address.netloc)

    def close(self) -> None:
        """Calls under way raise Closed."""
        with self._lock:
            self._closed.set()
        if self._running is not None:
            self._running.finish()


class _Loop:
    """A connection and the loop that it runs in."""

    def __init__(self, address: Address) -> None:
        self.connection = AsyncHttpConnection(address)
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(self.loop,), daemon=True)
        thread.start()
        # also when the client is forgotten or the program ends, else aiohttp complains
        self.finish = weakref.finalize(self, _finish, self.connection, self.loop, thread)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _finish(
    connection: AsyncHttpConnection, loop: asyncio.AbstractEventLoop, thread: threading.Thread
) -> None:
    async def end() -> None:
        await connection.close()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        if calls:
            await asyncio.wait(calls, timeout=1)  # they raise Closed
        loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if thread is not threading.current_thread():  # the collector may run in any
        thread.join()


def ssl_context(tls: Tls | None) -> ssl.SSLContext | bool:
    """Python's form of `tls`, True for none. Raises OSError if a file cannot be read."""
    if tls is None:
        return True  # aiohttp's default
    context = ssl.create_default_context(cadata=Path(tls.ca).read_text() if tls.ca else None)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def to_http(request: Request) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Method, path below /v2/, body and headers."""
    if isinstance(request, Infer):
        image = tritonclient.http.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([request.image], np.object_))
        body, json_length = triton.generate_request_body(
            [image], request_id=request.id, parameters=dict(request.parameters)
        )
        headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(json_length)}
        headers |= id_headers(request)
        return "POST", f"models/{quote(request.model, safe='')}/infer", body, headers
    if isinstance(request, Config):
        return "GET", f"models/{quote(request.model, safe='')}/config", None, {}
    return "GET", "models/stats", None, {}


def refused(
    status: int, content: bytes, headers: Mapping[str, str], address: Address
) -> CountersignError:
    """What an answer other than 200 means."""
    elsewhere = unavailable_for_good(
        f"{address.netloc}: HTTP {status} instead of an answer: is this the server's HTTP port?"
    )
    try:
        reason = str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):  # not by Triton
        text = " ".join(content[: 4 * REASON_MAX].decode(errors="replace").split())
        reason = text[:REASON_MAX] or "no reason given"
        if status == 404:  # Triton names the model
            return elsewhere
    if status == 405 or reason == NO_PATH:
        return elsewhere
    return meant(status, reason, address.netloc, retry_after_s(headers))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The seconds of Retry-After (RFC 9110, 10.2.3: a number or a date), 0 if it is not there."""
    text = headers.get("Retry-After", "")
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def translated(error: Exception, address: Address) -> CountersignError:
    """What an exception of aiohttp or asyncio means."""
    url = address.netloc
    kind = next(kind for failure, kind in FAILURES if isinstance(error, failure))
    if isinstance(error, aiohttp.ClientResponseError):
        return unavailable_for_good(
            f"{url}: this port does not speak HTTP/1: name the HTTP port, or protocol grpc"
        )
    if kind is DeadlineExceeded:
        return DeadlineExceeded(f"{url}: no answer")  # the call adds how long it waited
    return kind(f"{url}: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    """The system's or OpenSSL's own words, without aiohttp's around them."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error)
    cause = error.os_error
    if isinstance(cause, (ssl.SSLError, socket.gaierror)) or not cause.errno:
        return cause.strerror or str(cause)
    return os.strerror(cause.errno)
