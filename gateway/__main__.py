"""`python -m gateway` answers in the foreground until SIGTERM or Ctrl-C."""

import logging
import signal
import socket
import sys
import urllib.error
import urllib.request
from contextlib import suppress

import uvicorn

from gateway.app import create_app
from gateway.log import PredictionLog, Store, sqlite_url
from gateway.protocol import BoundedProtocol
from gateway.settings import Settings, SettingsError, parse

READY_S = 20
BACKLOG = 512  # connections that wait to be taken


def config_of(settings: Settings, log: PredictionLog | None = None) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        create_app(settings, log),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedProtocol,
        log_level="warning",
        access_log=False,  # a path may name what was asked about
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.exit_timeout_s,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


class Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        for server in self.servers[:1]:
            host, port = server.sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            scheme = "https" if self.config.ssl_certfile else "http"
            print(f"ready: {scheme}://{shown}:{port}", flush=True)


def open_log(settings: Settings) -> PredictionLog | None:
    """The log, None without one. Raises SettingsError if a folder of it cannot be made."""
    if not settings.log:
        return None
    option = "--data"
    try:
        url = settings.log_url.get_secret_value() or sqlite_url(settings.data)
        option = "--store"
        store = Store(settings.store) if settings.store else None
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise SettingsError(f"{option}: {reason}; another folder, or --log 0") from error
    return PredictionLog(url, store, settings.keep, settings.random_share)


def ready(settings: Settings) -> int:
    """Asks a running gateway of these settings whether it is ready; 0 if it is."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    shown = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{shown}:{settings.port}/readyz", timeout=READY_S):
            return 0
    except urllib.error.HTTPError as error:
        print(f"countersign gateway: {error.read().decode(errors='replace')}", file=sys.stderr)
    except OSError as error:
        print(f"countersign gateway: {error}", file=sys.stderr)
    return 1


def main(argv: list[str] | None = None) -> int:
    """Answers until told to stop; with `ready` asks one that runs. Exit status 0, or 1."""
    argv = sys.argv[1:] if argv is None else argv
    asks = argv[:1] == ["ready"]
    try:
        settings = parse(argv[1:] if asks else argv)
        log = None if asks else open_log(settings)
    except (SettingsError, OSError) as error:
        print(f"countersign gateway: {error}", file=sys.stderr)
        return 1
    if asks:
        return ready(settings)
    logging.basicConfig(format="countersign gateway: %(message)s")
    logging.getLogger("countersign.gateway").setLevel(logging.INFO)
    # uvicorn raises the signal again once all is ended
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        Server(config_of(settings, log)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
