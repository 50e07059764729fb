"""The whole server: tritonserver on private sockets, and the front before it."""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from server import door, front, process, readiness
from server.keys import Keys
from server.log import Log
from server.ports import address, check_ports, with_free_ports
from server.repository import ensembles
from server.settings import ServerError, Settings
from server.triton import Triton, no_folder

FRONT_EXIT_S = 5
FRONT_READY_S = 20


@dataclass
class Server:
    """A running server, as a context manager: on entry it is ready, on exit nothing is left.

    Everything reaches tritonserver through the front. `while_starting` is called now and then
    until the server is ready; what it raises stops it.
    """

    settings: Settings = field(default_factory=Settings)
    while_starting: Callable[[], None] = lambda: None
    triton: Triton = field(init=False)
    _front: subprocess.Popen[str] | None = field(default=None, init=False)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        return address(self.settings.host, self.settings.http_port)

    @property
    def grpc_url(self) -> str:
        return address(self.settings.host, self.settings.grpc_port)

    @property
    def metrics_url(self) -> str:
        return address(self.settings.host, self.settings.metrics_port)

    def start(self) -> None:
        """Starts tritonserver, then the front, and returns once it passes requests on.

        Raises ServerError as Triton.start does, and if the front cannot listen; then nothing is
        left.
        """
        envoy = front.find_envoy()
        keys = Keys(self.settings.keys) if self.settings.keys else None
        door.check_certificates(self.settings)
        check_who_may_ask(self.settings)
        self.settings = with_free_ports(self.settings)
        check_ports(self.settings)
        with ExitStack() as stack:
            self.triton = Triton(self.settings, self.while_starting, private=True)
            stack.enter_context(self.triton)
            config = front.configuration(self.settings, ensembles(self.settings.repository))
            try:
                (self.triton.folder / "front.json").write_text(json.dumps(config))
                if keys:
                    stack.enter_context(door.answering(keys, self.triton.folder))
                    door.write_clusters(keys, self.triton.folder)
                if self.settings.tls_cert:
                    door.write_certificates(self.settings, self.triton.folder)
            except OSError as error:
                raise ServerError(no_folder(error)) from error
            stack.enter_context(door.watching(self.settings, keys, self.triton.folder))
            self._front = process.start(command_line(envoy), {}, self.triton.folder)
            assert self._front.stdout is not None  # it is a pipe
            stack.enter_context(self._front.stdout)
            self._log = Log(self._front.stdout, self.settings.verbose)
            stack.callback(self._log.join)
            stack.callback(process.end, self._front, FRONT_EXIT_S)
            self._wait_for_front()
            stack.callback(self.drain)
            self._stop = stack.pop_all()

    def _wait_for_front(self) -> None:
        deadline = time.monotonic() + FRONT_READY_S
        while True:
            self.while_starting()
            if died := self.died:
                self._log.join()
                raise ServerError(self._log.failure() or died)
            try:
                self._admin("/ready")
                return
            except readiness.NotReady as error:
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"the front is not ready after {FRONT_READY_S} s: {error}"
                    ) from error
            time.sleep(0.02)

    def _admin(self, path: str, post: bool = False) -> bytes:
        """What Envoy's own interface answers, which only this user reaches. Raises NotReady."""
        folder = self.triton.http_url.removesuffix("http.sock")
        return readiness.call(f"{folder}admin.sock", path, 5, b"" if post else None)

    def check(self) -> None:
        """Asks tritonserver its samples, and the front whether it is there. Raises NotReady."""
        self.triton.check()
        self._admin("/ready")

    @property
    def died(self) -> str:
        """Which process has ended and how, nothing while all run."""
        if self.triton.status is not None:
            return f"tritonserver died, exit status {self.triton.status}"
        if self._front and (status := self._front.poll()) is not None:
            return f"the front died, exit status {status}"
        return ""

    def stop(self) -> None:
        """Lets requests in flight finish, then ends the server and removes all that it made."""
        self._stop.close()

    def drain(self) -> None:
        """Takes no more connections, has clients leave those they have, and waits for requests in
        flight, for `exit_timeout_s` at most."""
        deadline = time.monotonic() + self.settings.exit_timeout_s
        with suppress(readiness.NotReady):  # it may be dead
            self._admin("/healthcheck/fail", post=True)
            self._admin("/drain_listeners", post=True)
            while time.monotonic() < deadline and self._in_flight():
                time.sleep(0.05)

    def _in_flight(self) -> int:
        stats = self._admin("/stats?filter=^http.front.downstream_rq_active$").decode()
        return int(stats.rpartition(":")[2] or 0)

    def kill(self) -> None:
        """Ends the server at once; stop() still has to be called."""
        self.triton.kill()


def check_who_may_ask(settings: Settings) -> None:
    """Raises ServerError if other machines could ask without a key or certificate unmeant."""
    if settings.keys or settings.tls_client_ca or settings.allow_anyone:
        return
    if not front.is_loopback(settings.host):
        raise ServerError(
            f"--host: {settings.host} is open to other machines, and no key is asked for; --keys "
            "or --tls-client-ca says who may ask, --allow-anyone that everybody may"
        )


def command_line(envoy: Path) -> list[str]:
    """Envoy's arguments, in the folder of front.json.

    One thread reads all requests, so that what front.lua remembers of keys is there once.
    """
    return [
        str(envoy),
        "--config-path",
        "front.json",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--log-format",
        "%L front: %v",
    ]
