"""The ports to listen on: chosen, and free."""

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from server.settings import PORTS, ServerError, Settings, flag


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the first address of `host`. Raises OSError."""
    family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(found[:2], family=family)


def free_port(host: str) -> int:
    """A TCP port that was free a moment ago."""
    with listen(host, 0) as listener:
        return listener.getsockname()[1]


def address(host: str, port: int) -> str:
    """host:port, as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_free_ports(settings: Settings) -> Settings:
    """`settings` with each port 0 replaced by one that is free, and no other's."""
    chosen = {}
    with ExitStack() as held:  # a port that is let go may be found again
        for name in PORTS:
            if getattr(settings, name) == 0:
                listener = held.enter_context(listen(settings.host, 0))
                chosen[name] = listener.getsockname()[1]
    return replace(settings, **chosen)


def check_ports(settings: Settings, names: Sequence[str] = PORTS) -> None:
    """Raises ServerError that names the first of these ports somebody listens on."""
    for name in names:
        port = getattr(settings, name)
        try:
            listen(settings.host, port).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise ServerError(
                f"{address(settings.host, port)} cannot be listened on: {reason}; "
                f"{flag(name)} chooses another"
            ) from error
