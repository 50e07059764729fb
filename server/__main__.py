"""`python -m server`: serves the model repository in the foreground until SIGTERM or Ctrl-C."""

import argparse
import os
import signal
import sys
import time
from dataclasses import fields
from threading import Event

from server.cores import Plan
from server.readiness import Broken, NotReady, check
from server.triton import ServerError, Settings, Triton

HELP = {
    "repository": "model repository to serve",
    "samples": "folder of files and what they show; ready means that the first ones are found",
    "host": "address to listen on; 0.0.0.0 is every interface",
    "http_port": "HTTP port; 0 takes any free one, as for the other two",
    "grpc_port": "gRPC port",
    "metrics_port": "port of the Prometheus metrics",
    "max_image_bytes": "largest image file that is accepted, in bytes",
    "max_image_pixels": "largest width x height that is decoded",
    "ready_timeout_s": "seconds until every model must have answered its sample",
    "exit_timeout_s": "seconds that requests in flight get to finish at exit",
    "threads": "CPU threads of each OpenVINO model that sets none itself, and half as many "
    "processes decode pages; unless given, the cores that affinity and the CPU quota allow",
    "precision": "f32 for the same answers on every CPU; left out, bf16 where the CPU has it",
    "verbose": "show all that tritonserver logs, not only warnings and errors",
}
WATCH_INTERVAL_S = 5


def parse(argv: list[str]) -> Settings:
    """Command line over COUNTERSIGN_* variables over the defaults of Settings."""
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Each option is also read from the environment: COUNTERSIGN_HTTP_PORT=8010.",
    )
    for setting in fields(Settings):
        option = "--" + setting.name.replace("_", "-")
        variable = os.environ.get(f"COUNTERSIGN_{setting.name.upper()}")
        if setting.type is bool:
            on = variable not in (None, "", "0")
            parser.add_argument(option, action="store_true", default=on, help=HELP[setting.name])
        else:
            default = setting.default if variable is None else variable
            parser.add_argument(
                option, type=setting.type, default=default, help=HELP[setting.name], metavar="VALUE"
            )
    return Settings(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    """Serves until told to stop. Exit status 0 after a stop, 1 if the server failed."""
    settings = parse(sys.argv[1:] if argv is None else argv)
    asked = Event()
    server = Triton(settings, while_starting=lambda: _stop_if(asked))

    def stop(*_):
        if asked.is_set():  # asked twice: do not wait for requests in flight
            server.kill()
        asked.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    began = time.perf_counter()
    try:
        with server:
            print(
                f"ready after {time.perf_counter() - began:.1f} s, {Plan(settings.threads)}: "
                f"HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}",
                flush=True,
            )
            watch(server, asked)
            print("stopping, requests in flight may finish", flush=True)
    except ServerError as error:
        print(f"countersign server: {error}", file=sys.stderr)
        return 1
    except Stopped:
        pass
    return 0


class Stopped(Exception):
    """The server was told to stop before it was ready."""


def _stop_if(asked: Event) -> None:
    if asked.is_set():
        raise Stopped


def watch(server: Triton, asked: Event) -> None:
    """Returns when `asked`. Raises ServerError when the server has died or a model is broken.

    A busy server may answer its sample late; that is no failure.
    """
    last = time.monotonic()
    while not asked.wait(0.5):
        if server.status is not None:
            raise ServerError(f"tritonserver died, exit status {server.status}")
        if time.monotonic() - last < WATCH_INTERVAL_S:
            continue
        last = time.monotonic()
        try:
            check(server.http_url, server.settings.samples)
        except Broken as error:
            raise ServerError(f"a model broke, restart the server: {error}") from error
        except NotReady:
            continue


if __name__ == "__main__":
    sys.exit(main())
