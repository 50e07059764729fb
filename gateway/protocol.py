"""HTTP/1.1 as uvicorn has it, with a bound on what comes before a request's body."""

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.problems import CONTENT_TYPE, Problem

HEAD_MAX = 2**16  # bytes of a request's line and headers
HEADERS_MAX = 100
HEAD_S = 10  # that they may take


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose next head is too long (431), or too slow once it has begun (408)."""

    _head = 0  # bytes that came since the last head was whole
    _in_head = True
    _fields = 0
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """As uvicorn's; the first head is due."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, until a head is too long."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > HEAD_MAX:
            self._end(431, f"headers: {self._head} bytes, limit {HEAD_MAX}")

    def on_message_begin(self) -> None:
        """As uvicorn's; a head begins."""
        super().on_message_begin()
        self._in_head, self._fields = True, 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._late)

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's. Raises ValueError, which ends the parsing, for one too many."""
        self._fields += 1
        if self._fields > HEADERS_MAX:
            raise ValueError(f"headers: {self._fields}, limit {HEADERS_MAX}")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """As uvicorn's; the head is whole."""
        self._in_head, self._head = False, 0
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Ends the connection, whose request is none or has too many headers."""
        if self._fields > HEADERS_MAX:
            self._end(431, f"headers: {self._fields}, limit {HEADERS_MAX}")
        else:
            self._end(400, msg)

    def _end(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        problem = Problem(status, detail)
        body = problem.response().body
        self.transport.write(
            f"HTTP/1.1 {status} {problem.members['title']}\r\ncontent-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + bytes(body)
        )
        self.transport.close()

    def _late(self) -> None:
        self._timer = None
        self._end(408, f"headers: {self._head} bytes in {HEAD_S} s, and not whole")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
