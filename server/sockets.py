"""What this process answers, over HTTP, at a socket in the server's folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """One request that comes over a socket; logs nothing, since a key shall be in no log."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass


class Sockets(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of an asker that did not wait for its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def listening(folder: Path, name: str, handler: type[Handler]) -> Iterator[None]:
    """Answers at the socket `name` in `folder`, whose path may be long."""
    where = os.open(folder, os.O_PATH)
    try:
        with Sockets(f"/proc/self/fd/{where}/{name}", handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
    finally:
        os.close(where)
