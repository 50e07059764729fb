"""`python -m server` serves the model repository in the foreground until SIGTERM or Ctrl-C.

`python -m server ready` asks a running one whether it is well, `python -m server reload` has it
serve the repository as it is now, `python -m server rollout` tries a version on a part of the
requests, `python -m server keys` says who may ask it.
"""

import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from threading import Event, Thread

from server import control, keys, readiness, rollout_command
from server.control import reloaded
from server.cores import Plan, share
from server.gateway import Gateway
from server.log import say, warn
from server.ports import check_ports
from server.server import Server
from server.settings import GATEWAY_PORT, ServerError, Settings, parse
from server.tries import Tries

OTHERS = {
    "ready": readiness.main,
    "reload": control.main,
    "rollout": rollout_command.main,
    "keys": keys.main,
}


def main(argv: list[str] | None = None) -> int:
    """Serves until told to stop. Exit status 0 after a stop, 1 if the server failed."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in OTHERS:
        return OTHERS[argv[0]](argv[1:])
    if argv[:1] == ["serve"]:  # SageMaker's word to every image
        argv = argv[1:]
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
            signal.signal(
                signal.SIGHUP, lambda *_: Thread(target=reload, args=[server], daemon=True).start()
            )
            say(
                f"ready after {time.perf_counter() - began:.1f} s, "
                f"{plan(server.settings)}: "
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


def plan(settings: Settings) -> str:
    """What runs on how many cores."""
    if settings.replicas == 1:
        return str(Plan(settings.threads))
    least = Plan(share(settings.threads, settings.replicas, 0))
    return f"{settings.threads} cores: {settings.replicas} replicas, the first on {least}"


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
    """Returns when `asked`. Raises ServerError when the server can no longer be kept up.

    A gateway that died or is stopped is started again.
    """
    tries, since = Tries(), time.monotonic()
    while not asked.wait(0.2):
        if server.failed:
            raise ServerError(server.failed)
        now = time.monotonic()
        if gateway and (fault := gateway.fault) and now >= tries.not_before:
            tries.death(now, now - since)
            if tries.hopeless:
                raise ServerError(f"gave up after {tries.failed} tries: {fault}")
            warn(f"{fault}; it is started again")
            gateway.restart()
            since = time.monotonic()


def reload(server: Server) -> None:
    """Has the server reload; a line tells what came of it."""
    try:
        say(reloaded(server.supervisor))
    except ServerError as error:
        warn(str(error))


if __name__ == "__main__":
    sys.exit(main())
