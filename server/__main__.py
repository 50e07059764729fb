"""`python -m server` serves the model repository in the foreground until SIGTERM or Ctrl-C.

`python -m server ready` asks a running one whether it is well; `python -m server keys` says who may
ask it.
"""

import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from threading import Event
from typing import TextIO

from server import keys, readiness
from server.cores import Plan
from server.gateway import Gateway
from server.ports import check_ports
from server.readiness import Broken, NotReady, Wrong
from server.server import Server
from server.settings import GATEWAY_PORT, ServerError, Settings, parse

OTHERS = {"ready": readiness.main, "keys": keys.main}
WATCH_INTERVAL_S = 5
SILENCE_S = 120  # without an answer to a sample, after which the server is held to be stuck


def main(argv: list[str] | None = None) -> int:
    """Serves until told to stop. Exit status 0 after a stop, 1 if the server failed."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in OTHERS:
        return OTHERS[argv[0]](argv[1:])
    asked = Event()
    try:
        server = Server(parse(argv), lambda: _stop_if(asked))

        def stop(*_):
            if asked.is_set():  # asked twice: do not wait for requests in flight
                server.kill()
            asked.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        began = time.perf_counter()
        if has_gateway(server.settings):
            check_ports(server.settings, [GATEWAY_PORT])
        with server, beside(server) as gateway:
            say(
                f"ready after {time.perf_counter() - began:.1f} s, "
                f"{Plan(server.settings.threads)}: "
                f"HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}"
                + (f", gateway http://{gateway.url}" if gateway else "")
            )
            watch(server, asked, gateway)
            say("stopping, requests in flight may finish")
    except ServerError as error:
        say(f"countersign server: {error}", sys.stderr)
        return 1
    except Stopped:
        pass
    return 0


def say(line: str, stream: TextIO | None = None) -> None:
    """Writes a line to stdout or `stream`; nobody need read it."""
    with suppress(OSError, ValueError):
        print(line, file=stream or sys.stdout, flush=True)


class Stopped(Exception):
    """The server was told to stop before it was ready."""


def _stop_if(asked: Event) -> None:
    if asked.is_set():
        raise Stopped


def has_gateway(settings: Settings) -> bool:
    """Whether the gateway runs beside the server; one with TLS it could not ask."""
    return not (settings.no_gateway or settings.tls_cert)


def beside(server: Server) -> AbstractContextManager[Gateway | None]:
    """The gateway of a server that runs, unless it is left out."""
    return Gateway(server.settings) if has_gateway(server.settings) else nullcontext()


def watch(server: Server, asked: Event, gateway: Gateway | None = None) -> None:
    """Returns when `asked`. Raises ServerError when the server has died or a model is broken.

    A busy server may answer its sample late; one that is silent for SILENCE_S is stuck.
    """
    answered = last = time.monotonic()
    while not asked.wait(0.5):
        if died := server.died or (gateway.died if gateway else ""):
            raise ServerError(died)
        if time.monotonic() - last < WATCH_INTERVAL_S:
            continue
        last = time.monotonic()
        try:
            server.check()
            answered = time.monotonic()
        except (Broken, Wrong) as error:
            raise ServerError(f"a model broke, restart the server: {error}") from error
        except NotReady as error:
            if time.monotonic() - answered > SILENCE_S:
                raise ServerError(f"no answer for {SILENCE_S} s: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
