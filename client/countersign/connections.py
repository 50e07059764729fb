"""The wire: how each protocol calls the server, and what its failures mean.

tritonclient is imported when a connection is made, and only the half that it needs.
"""

import asyncio
import ssl
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from countersign.errors import CountersignError, DeadlineExceeded, Denied, Refused, Unavailable

DEFAULT_URLS = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}

CHANNEL_ARGUMENTS = [  # these replace all of tritonclient's own
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # reconnect at the pace of the retries: gRPC's own first pause is a second
    ("grpc.initial_reconnect_backoff_ms", 100),
    # else the clients of a process share one connection and its backoff
    ("grpc.use_local_subchannel_pool", 1),
]

KINDS: dict[str | None, type[CountersignError]] = {  # statuses as tritonclient writes them
    "StatusCode.INVALID_ARGUMENT": Refused,
    "StatusCode.NOT_FOUND": Refused,  # no such model
    "StatusCode.UNAUTHENTICATED": Denied,
    "StatusCode.PERMISSION_DENIED": Denied,
    "StatusCode.UNAVAILABLE": Unavailable,
    "StatusCode.CANCELLED": Unavailable,  # by a proxy that took no more, in mid-upload
    "StatusCode.DEADLINE_EXCEEDED": DeadlineExceeded,
    "400": Refused,
    "401": Denied,
    "403": Denied,
    "404": Refused,
    "413": Refused,
    "502": Unavailable,
    "503": Unavailable,
    "504": DeadlineExceeded,
}
# Triton's words that tell more than the status they come with
RESTRICTED = "is restricted, expecting header"  # gRPC: UNAVAILABLE
UNLOADED = "has no available versions"  # a server that is stopping; HTTP: 400, gRPC: NOT_FOUND


@dataclass(frozen=True)
class Tls:
    """PEM files. Left None: the system's authorities, and no client certificate."""

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None


class Connection(Protocol):
    """A way to the server; tritonclient's methods become `call`."""

    triton: ModuleType  # tritonclient's module for the protocol

    def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """What tritonclient's `method` gives. Raises CountersignError."""

    def close(self) -> None: ...


class AsyncConnection(Protocol):
    """The same for asyncio, inside the one event loop of the first call."""

    triton: ModuleType

    async def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        """What tritonclient's `method` gives. Raises CountersignError."""

    async def close(self) -> None: ...


def connect(
    url: str | None, protocol: str, tls: Tls | None, headers: Mapping[str, str] | None
) -> Connection:
    """A connection that any thread may use, made at the first call.

    Raises ValueError for another protocol than grpc or http and for a URL that is not host:port,
    OSError for a TLS file that cannot be read.
    """
    if protocol == "grpc":
        return GrpcConnection(checked_url(url, protocol), tls, headers or {})
    return ThreadedConnection(connect_async(url, protocol, tls, headers))


def connect_async(
    url: str | None, protocol: str, tls: Tls | None, headers: Mapping[str, str] | None
) -> AsyncConnection:
    """A connection for one event loop, made at the first call. Raises as `connect`."""
    url = checked_url(url, protocol)
    if protocol == "grpc":
        return AsyncGrpcConnection(url, tls, headers or {})
    return AsyncHttpConnection(url, tls, headers or {})


def checked_url(url: str | None, protocol: str) -> str:
    """`url`, or the protocol's default. Raises ValueError unless both are known."""
    if protocol not in DEFAULT_URLS:
        raise ValueError(f"protocol: {protocol!r}, expected grpc or http")
    if url is not None and (not url or "://" in url):
        raise ValueError(f"url: {url!r}, expected host:port, with the protocol apart")
    return url or DEFAULT_URLS[protocol]


@contextmanager
def translating(triton: ModuleType, url: str) -> Iterator[None]:
    """Turns tritonclient's exceptions into CountersignErrors."""
    try:
        yield
    except triton.InferenceServerException as error:
        raise translated(error.status(), error.message(), url) from error


def translated(status: str | None, reason: str, url: str) -> CountersignError:
    """The error for a status of gRPC ("StatusCode.UNAVAILABLE") or HTTP ("503")."""
    kind = KINDS.get(status, CountersignError)
    if RESTRICTED in reason:
        kind = Denied
    elif UNLOADED in reason:
        kind = Unavailable
    if kind is Refused:
        return Refused(reason)  # the server's words name the input; where it runs is no matter
    if kind is DeadlineExceeded:
        reason = "no answer"  # the call adds how long it waited
    return kind(f"{url}: {reason}")


def grpc_credentials(tls: Tls | None) -> Any:
    """gRPC's form of `tls`, None for none. Raises OSError if a file cannot be read."""
    if tls is None:
        return None
    ca, key, cert = (path and Path(path).read_bytes() for path in (tls.ca, tls.key, tls.cert))
    return import_module("grpc").ssl_channel_credentials(ca, key, cert)


def ssl_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Python's form of `tls`, None for none. Raises OSError if a file cannot be read."""
    if tls is None:
        return None
    context = ssl.create_default_context(cadata=Path(tls.ca).read_text() if tls.ca else None)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def grpc_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` as gRPC metadata, whose names must be lower case."""
    return {name.lower(): value for name, value in headers.items()}


class GrpcConnection:
    """gRPC, for any number of threads."""

    def __init__(self, url: str, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self.triton = import_module("tritonclient.grpc")
        self._url, self._headers = url, grpc_headers(headers)
        self._client = self.triton.InferenceServerClient(
            url, creds=grpc_credentials(tls), channel_args=CHANNEL_ARGUMENTS
        )

    def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        send = getattr(self._client, method)
        with translating(self.triton, self._url):
            return send(**arguments, headers=self._headers, client_timeout=timeout_s)

    def close(self) -> None:
        self._client.close()


class AsyncGrpcConnection:
    """gRPC under asyncio."""

    def __init__(self, url: str, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self.triton = import_module("tritonclient.grpc.aio")
        self._url, self._headers = url, grpc_headers(headers)
        self._credentials = grpc_credentials(tls)
        self._client: Any = None  # made inside the loop, which its channel binds to

    async def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        if self._client is None:
            self._client = self.triton.InferenceServerClient(
                self._url, creds=self._credentials, channel_args=CHANNEL_ARGUMENTS
            )
        send = getattr(self._client, method)
        with translating(self.triton, self._url):
            return await send(**arguments, headers=self._headers, client_timeout=timeout_s)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class AsyncHttpConnection:
    """HTTP under asyncio."""

    def __init__(self, url: str, tls: Tls | None, headers: Mapping[str, str]) -> None:
        self.triton = import_module("tritonclient.http.aio")
        self._url, self._headers = url, dict(headers)
        self._ssl_context = ssl_context(tls)
        self._client: Any = None  # made inside the loop, which its session binds to

    async def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        import aiohttp

        if self._client is None:
            encrypted = self._ssl_context is not None
            self._client = self.triton.InferenceServerClient(
                self._url,
                ssl=encrypted,
                ssl_context=self._ssl_context or True,  # aiohttp takes no None
                conn_limit=0,  # deadlines and concurrency are the caller's
                conn_timeout=None,
            )
        # tritonclient adds to the headers it is given
        answer = getattr(self._client, method)(**arguments, headers=dict(self._headers))
        try:
            with translating(self.triton, self._url):
                return await asyncio.wait_for(answer, timeout_s)
        except asyncio.TimeoutError as error:
            raise DeadlineExceeded(f"{self._url}: no answer") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Unavailable(f"{self._url}: {error}") from error
        except aiohttp.ClientError as error:
            raise CountersignError(f"{self._url}: {error}") from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


class ThreadedConnection:
    """An asyncio connection for any number of threads, its loop in a thread of its own.

    For HTTP, since tritonclient's blocking HTTP client belongs to one thread and knows no deadline
    for a whole call.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self.triton = connection.triton
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(self._loop,), daemon=True)
        thread.start()
        # also runs when the client is forgotten or the program ends, else aiohttp complains
        self._finish = weakref.finalize(self, _finish, connection, self._loop, thread)

    def call(self, method: str, arguments: Mapping[str, Any], timeout_s: float) -> Any:
        answer = self._connection.call(method, arguments, timeout_s)
        future = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # an interrupted caller leaves no request behind

    def close(self) -> None:
        self._finish()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _finish(
    connection: AsyncConnection, loop: asyncio.AbstractEventLoop, thread: threading.Thread
) -> None:
    closed = asyncio.run_coroutine_threadsafe(connection.close(), loop)
    closed.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
    if thread is not threading.current_thread():  # the collector may run in any
        thread.join()
