"""The gateway beside the server: `python -m gateway`, started, watched and ended with it."""

import os
import sys
import time
from importlib.util import find_spec
from threading import Event, Thread

from server import process, vitals
from server.cores import Plan
from server.log import say
from server.ports import address, free_port
from server.settings import ROOT, ServerError, Settings

READY = "ready: "
READY_S = 30
LOG_S = 10  # that the log may take to write what waits, once the requests have ended
EVERY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}
NEEDED = ("countersign", "fastapi", "orjson", "pypdfium2", "sqlalchemy", "uvicorn")


class Gateway:
    """A running gateway, as a context manager. Raises ServerError if it does not start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_words: list[str] = []
        self._ready = Event()
        self.port = settings.gateway_port or free_port(settings.host)

    @property
    def url(self) -> str:
        return address(self._settings.host, self.port)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Gateway":
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            raise ServerError(
                f"the gateway needs {', '.join(missing)}: pip install -r requirements/gateway.txt, "
                "or --no-gateway"
            )
        self._process = process.start(self._command(), dict(os.environ), ROOT)
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + READY_S
        while not self._ready.wait(0.05):
            if self.died or time.monotonic() > deadline:
                self.__exit__()
                why = self._last_words[-1:] or [f"not ready after {READY_S} s"]
                raise ServerError(f"the gateway did not start: {why[0]}")
        return self

    def restart(self) -> None:
        """Ends what is left of it and starts another. ServerError if that does not start."""
        process.kill(self._process)
        self._reader.join(5)
        self._ready.clear()
        self.__enter__()

    def __exit__(self, *_: object) -> None:
        process.end(self._process, self._settings.exit_timeout_s + LOG_S)
        self._reader.join(5)

    @property
    def died(self) -> str:
        """How it ended, nothing while it runs."""
        status = self._process.poll()
        return "" if status is None else f"the gateway died, exit status {status}"

    @property
    def fault(self) -> str:
        """How it ended, or that it is stopped; nothing while it runs."""
        if self.died or not vitals.fault(vitals.group(self.pid), may_end=True):
            return self.died
        return "the gateway is stopped"

    def _command(self) -> list[str]:
        settings = self._settings
        front = address(EVERY_HOST.get(settings.host, settings.host), settings.grpc_port)
        options = ["--triton", front, "--host", settings.host, "--port", str(self.port)]
        options += ["--exit-timeout-s", str(settings.exit_timeout_s)]
        options += ["--max-image-bytes", str(settings.max_image_bytes)]
        options += ["--max-image-pixels", str(settings.max_image_pixels)]
        options += ["--at-once", str(Plan(settings.threads).in_flight)]
        options += ["--keys", str(settings.keys.resolve())] if settings.keys else []
        options += ["--traces", settings.traces] if settings.traces else []
        options += ["--log-requests"] if settings.log_requests else []
        options += ["--allow-anyone"] if settings.allow_anyone else []
        return [sys.executable, "-m", "gateway", *options]

    def _read(self) -> None:
        """All that it writes: whether it is ready is remembered, the rest passed on."""
        assert self._process.stdout is not None  # it is a pipe
        for line in self._process.stdout:
            if line.startswith(READY):
                self._ready.set()
                continue
            requests = line.startswith("{")  # the log of them
            if not requests:
                self._last_words = [line.strip()]
            say(line, sys.stdout if requests else sys.stderr)
