"""The front's process: Envoy, started, asked, drained and ended; front.py has what it is told."""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from server import process, readiness, vitals
from server.folder import no_folder
from server.front import Config, find_envoy
from server.log import Log
from server.settings import ServerError

EXIT_S = 5
READY_S = 20
ANSWER_S = 5  # for its own interface


class Envoy:
    """Envoy in `folder`, whose front.json it reads; `url` is that of its admin.sock there.

    `record` gets the line of each request.
    """

    def __init__(
        self, folder: Path, url: str, config: Config, verbose: bool, record: Callable[[str], None]
    ) -> None:
        self._binary = find_envoy()
        self._folder, self._url, self._verbose = folder, url, verbose
        self._record = record
        self._process: subprocess.Popen[str] | None = None
        self._is_ready = False
        try:
            (folder / "front.json").write_text(json.dumps(config))
        except OSError as error:
            raise ServerError(no_folder(error)) from error

    def start(self) -> None:
        """Starts it, or another where one has ended; it is ready a moment later."""
        self._process = process.start(command_line(self._binary), {}, self._folder)
        assert self._process.stdout is not None  # it is a pipe
        self._log = Log(self._process.stdout, self._verbose, self._record)
        self._is_ready, self._ready_by = False, time.monotonic() + READY_S

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def ready(self) -> bool:
        """Whether it has begun to pass requests on."""
        if not self._is_ready:
            with suppress(readiness.NotReady):
                self.admin("/ready")
                self._is_ready = True
        return self._is_ready

    def fault(self) -> str:
        """Why it passes no requests on; "" while it does or is about to. Its own watchdog ends it
        where it hangs."""
        assert self._process
        if (status := self._process.poll()) is not None:
            self._log.join()
            reason = self._log.failure()
            return f"the front died, exit status {status}{reason and ': '}{reason}"
        if vitals.fault(vitals.group(self.pid), may_end=True):  # how it ended says poll
            return "the front is stopped"
        if not self.ready() and time.monotonic() > self._ready_by:
            return f"the front is not ready after {READY_S} s"
        return ""

    def admin(self, path: str, post: bool = False) -> bytes:
        """What Envoy's own interface answers, which only this user reaches. Raises NotReady."""
        return readiness.call(self._url, path, ANSWER_S, b"" if post else None)

    def under_way(self, replica: str) -> int:
        """How many requests it has at the sockets in a replica's folder of that name."""
        try:
            found = json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
        except readiness.NotReady:
            return 0  # it has ended, and what it had under way with it
        return sum(
            int(stat.get("value", 0))
            for cluster in found
            for host in cluster.get("host_statuses", ())
            if host["address"].get("pipe", {}).get("path", "").startswith(f"{replica}/")
            for stat in host["stats"]
            if stat["name"] == "rq_active"
        )

    def drain(self, timeout_s: float) -> None:
        """Takes no more connections, has clients leave those they have, and waits for requests in
        flight, for so long at most."""
        deadline = time.monotonic() + timeout_s
        with suppress(readiness.NotReady):  # it may be dead
            self.admin("/healthcheck/fail", post=True)
            self.admin("/drain_listeners", post=True)
            while time.monotonic() < deadline and self._in_flight():
                time.sleep(0.05)

    def _in_flight(self) -> int:
        stats = self.admin("/stats?filter=^http.front.downstream_rq_active$").decode()
        return int(stats.rpartition(":")[2] or 0)

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._process:
            process.end(self._process, EXIT_S)
            self._log.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def kill(self) -> None:
        """Ends the process at once."""
        assert self._process
        process.kill(self._process)


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
        "--file-flush-interval-msec",  # of the requests' log
        "500",
        "--log-level",
        "warning",
        "--log-format",
        "%L front: %v",
    ]
