"""`python -m gateway` answers in the foreground until SIGTERM or Ctrl-C."""

import socket
import sys
from contextlib import suppress

import uvicorn

from gateway.app import create_app
from gateway.settings import Settings, SettingsError, parse

BACKLOG = 512  # connections that wait to be taken


def config_of(settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,  # a path may name what was asked about
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=settings.exit_timeout_s,
    )


class Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        for server in self.servers[:1]:
            host, port = server.sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"ready: http://{shown}:{port}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Answers until told to stop. Exit status 0 after a stop, 1 if it could not run."""
    try:
        settings = parse(sys.argv[1:] if argv is None else argv)
    except (SettingsError, OSError) as error:
        print(f"countersign gateway: {error}", file=sys.stderr)
        return 1
    with suppress(KeyboardInterrupt):
        Server(config_of(settings)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
