"""One tritonserver: laid out, started, watched, stopped without a trace."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from server import process, readiness, release
from server.folder import SHM, check_shm, no_folder, private_folder, subfolder
from server.log import Log
from server.memory import shm_least_mib
from server.ports import address, check_ports, with_free_ports
from server.release import Release
from server.repository import finalizes
from server.settings import ModelError, ServerError, Settings
from server.wheel import Installed, Wheel, find_tritonserver

FILES_MIN = 1024  # file descriptors: Triton alone has some hundred, and one for each connection
SECRETS = ("COUNTERSIGN_KEY", "AWS_", "AZURE_", "GOOGLE_")  # how names begin that steps do not need
NEVER = 2**31 - 1  # of so many requests without a trace one gets spans
STEPS_EXIT_S = 10  # how long steps may take to end once no request is in flight


def raise_files(least: int = FILES_MIN) -> None:
    """Takes all the file descriptors that this process may have. ServerError for under `least`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < least:
        raise ServerError(
            f"file descriptors: {most}, at least {least} are needed; ulimit -Hn {least}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass
class Triton:
    """A running tritonserver, as a context manager: on entry it is ready, on exit nothing is left.

    Ready means that a stored sample through each ensemble was answered, and as expected where the
    samples show the answer. `while_starting` is called now and then until then; what it raises
    stops the server.

    Alone it serves the settings' repository on their host and ports, without looking at who asks
    what. With a `place`, a folder that it makes and removes, it serves `release`, which lies beside
    that folder, on sockets in it: http.sock, grpc.sock:1 and metrics.sock.
    """

    settings: Settings = field(default_factory=Settings)
    while_starting: Callable[[], None] = lambda: None
    place: Path | None = None
    release: Release | None = None
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _was_ready: bool = field(default=False, init=False)

    def __enter__(self) -> "Triton":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        if self.place:
            return f"unix:/proc/self/fd/{self._folder_fd}/http.sock"  # its path may be long
        return address(self.settings.host, self.settings.http_port)

    @property
    def grpc_url(self) -> str:
        return address(self.settings.host, self.settings.grpc_port)

    @property
    def metrics_url(self) -> str:
        if self.place:
            return f"unix:/proc/self/fd/{self._folder_fd}/metrics.sock"
        return address(self.settings.host, self.settings.metrics_port)

    def start(self) -> None:
        """Starts tritonserver and returns once it is ready.

        Raises ServerError if a port is taken, a piece or the repository is missing, and ModelError
        if a model fails to load or gives no right answer; then nothing is left.
        """
        found = find_tritonserver(self.settings.triton)
        if not self.place:
            self.settings = with_free_ports(self.settings)
            check_ports(self.settings)
        check_shm(shm_least_mib(self.settings))
        raise_files()
        with ExitStack() as stack:
            room = subfolder(self.place) if self.place else private_folder()
            self.folder = stack.enter_context(room)
            self._folder_fd = os.open(self.folder, os.O_PATH)
            stack.callback(os.close, self._folder_fd)
            models = self.folder / "models"
            try:
                backends = found.lay_out_backends(self.folder / "backends")
                if self.release:
                    models.symlink_to(Path("..", self.release.folder.name))
            except OSError as error:
                raise ServerError(no_folder(error)) from error
            self.release = self.release or release.read(self.settings, models)
            options = command_line(self.settings, backends, self.folder.name, bool(self.place))
            self._process = process.start(
                [str(found.binary), *options], environment(found, self.settings), self.folder
            )
            assert self._process.stdout is not None  # it is a pipe
            stack.enter_context(self._process.stdout)
            self._log = Log(self._process.stdout, self.settings.verbose)
            stack.callback(self._log.join)
            stack.callback(self._end)
            self._wait_until_ready()
            self._was_ready = True
            for segment in SHM.glob(f"{self.folder.name}_*"):
                segment.chmod(0o600)  # pages travel in it, and it was made for all to read
            self._stop = stack.pop_all()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        while True:
            self.while_starting()
            if self.status is not None:
                self._log.join()
                if self._log.failures:
                    raise ModelError(self._log.failure(), self._log.failures)
                raise ServerError(self._log.failure() or f"tritonserver exited: {self.status}")
            try:
                self.check()
                return
            except (readiness.Broken, readiness.Wrong) as error:
                raise ModelError(error.said or str(error), [error.ensemble]) from error
            except readiness.NotReady as error:
                if time.monotonic() > deadline:
                    late = f"not ready after {self.settings.ready_timeout_s:g} s"
                    if loading := sorted(self._log.loading):
                        raise ModelError(
                            f"{late}: {', '.join(loading)} still load", loading
                        ) from error
                    raise ServerError(f"{late}: {error}") from error
            time.sleep(0.1)

    def check(self) -> None:
        """Asks the server its samples. Raises readiness.NotReady."""
        assert self.release
        readiness.check(self.http_url, self.release.goldens)

    @property
    def pid(self) -> int:
        """tritonserver's process, which leads the group of its steps."""
        assert self._process
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def status(self) -> int | None:
        """tritonserver's exit status, None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Ends the server and removes all that it made; requests in flight get a few seconds.

        Steps with a finalize() get time for it. To end the others would take Triton seconds.
        """
        self._stop.close()

    def _end(self) -> None:
        assert self._process
        assert self.release
        if not self._was_ready:  # nobody has asked it anything
            process.kill(self._process)
        elif finalizes(self.release.folder):
            process.end(self._process, 2 * STEPS_EXIT_S)
        else:
            process.end(self._process, 2 * STEPS_EXIT_S, lambda: self._log.idle)

    def kill(self) -> None:
        """Ends the server and its steps at once; stop() still has to be called."""
        if self._process:
            process.kill(self._process)


def command_line(settings: Settings, backends: Path, prefix: str, private: bool) -> list[str]:
    """tritonserver's arguments, in a folder with models/.

    Names of shared memory files begin with `prefix`. Paths are relative: Triton passes them on to
    a shell, where a space would part them. Each config.pbtxt is complete: Triton would start each
    step once more to ask it what is missing.
    """
    options = {
        "model-repository": "models",
        "backend-directory": backends,
        "backend-config": f"python,shm-region-prefix-name={prefix}_",
        "model-control-mode": "none",  # nobody loads or unloads models
        "exit-timeout-secs": STEPS_EXIT_S,
        "allow-gpu-metrics": "false",
        "pinned-memory-pool-byte-size": 0,
    }
    for endpoint in ("http", "grpc", "metrics"):
        options[f"{endpoint}-address"] = f"unix:{endpoint}.sock" if private else settings.host
        options[f"{endpoint}-port"] = 1 if private else getattr(settings, f"{endpoint}_port")
    named = [f"--{name}={value}" for name, value in options.items()]
    return ["--disable-auto-complete-config", *named, *tracing(settings.traces)]


def tracing(url: str) -> list[str]:
    """The arguments that have spans sent to `url`, of requests in a trace; none for ""."""
    if not url:
        return []
    told = {
        "mode": "opentelemetry",
        "level": "TIMESTAMPS",
        "rate": NEVER,
        "opentelemetry,url": url,
        "opentelemetry,bsp_schedule_delay": 2000,  # ms
        "opentelemetry,resource": "service.name=countersign-triton",
    }
    return [f"--trace-config={name}={value}" for name, value in told.items()]


def environment(found: Wheel | Installed, settings: Settings) -> dict[str, str]:
    """What tritonserver and the stubs it starts need, over this process's own variables."""
    paths = [*map(str, found.library_path), os.environ.get("LD_LIBRARY_PATH", "")]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    return {
        **inherited,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",  # the stubs' Python
        "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
        "COUNTERSIGN_MAX_IMAGE_BYTES": str(settings.max_image_bytes),
        "COUNTERSIGN_MAX_IMAGE_PIXELS": str(settings.max_image_pixels),
        "COUNTERSIGN_STEP_ALARM_S": str(settings.image_timeout_s),
        "COUNTERSIGN_THREADS": str(settings.threads),
        "COUNTERSIGN_PRECISION": settings.precision,
    }
