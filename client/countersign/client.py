"""The two clients: `Client` blocks, `AsyncClient` awaits. What their methods do is in `calls`."""

from collections.abc import Mapping

from countersign import calls
from countersign.address import Address, Tls, address
from countersign.drivers import (
    AsyncConnection,
    Connection,
    awaited,
    blocking,
    streaming,
    streaming_async,
)


def connect(server: Address) -> Connection:
    """A connection that is made at the first call. Raises OSError for a TLS file it cannot read.

    Only the half of tritonclient that it needs is imported.
    """
    if server.protocol == "grpc":
        from countersign.over_grpc import GrpcConnection

        return GrpcConnection(server)
    from countersign.over_http import HttpConnection

    return HttpConnection(server)


def connect_async(server: Address) -> AsyncConnection:
    """As `connect`."""
    if server.protocol == "grpc":
        from countersign.over_grpc import AsyncGrpcConnection

        return AsyncGrpcConnection(server)
    from countersign.over_http import AsyncHttpConnection

    return AsyncHttpConnection(server)


class Client:
    """A connection to the server that any thread may use. Close it, or use `with`.

    url       [grpc|grpcs|http|https://]HOST[:PORT]; None for $COUNTERSIGN_URL, else 127.0.0.1;
              without a port 8001 for gRPC, 8000 for HTTP. [grpcs+]dns:///HOST[:PORT] has gRPC's
              requests go to all addresses of HOST in turn
    protocol  "grpc" or "http", if the URL does not say; else gRPC
    tls       encrypts if given, as grpcs:// and https:// do; Tls() trusts the system's authorities
    headers   go with each request
    key       goes with each request as `Authorization: Bearer`; None for $COUNTERSIGN_KEY, else
              for the content of the file $COUNTERSIGN_KEY_FILE, if they are set

    No proxy of the environment is used. After a fork the child gets a connection of its own.
    Each call raises Refused, Denied, Unavailable, DeadlineExceeded or Closed, all
    CountersignErrors; `timeout_s` spans all of it. What fails for want of a server, or of room
    there, is tried again until then.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: str | None = None,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        self._connection = connect(address(url, protocol, tls, headers, key))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way, and any to come, raise Closed."""
        self._connection.close()

    detect = blocking(calls.detect)
    detect_pages = streaming(calls.detect_pages)
    detect_document = streaming(calls.detect_document)
    detect_many = streaming(calls.detect_many)
    read = blocking(calls.read)
    models = blocking(calls.models)


class AsyncClient:
    """`Client` for asyncio, inside one event loop. Close it, or use `async with`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: str | None = None,
        tls: Tls | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        self._connection = connect_async(address(url, protocol, tls, headers, key))

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls under way, and any to come, raise Closed."""
        await self._connection.close()

    detect = awaited(calls.detect)
    detect_pages = streaming_async(calls.detect_pages)
    detect_document = streaming_async(calls.detect_document)
    detect_many = streaming_async(calls.detect_many)
    read = awaited(calls.read)
    models = awaited(calls.models)
