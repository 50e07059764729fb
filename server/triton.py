"""One tritonserver: laid out, started, watched, stopped without a trace."""

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from server import process, readiness
from server.cores import Plan
from server.log import Log
from server.ports import address, check_ports, with_free_ports
from server.repository import ensembles, lay_out
from server.settings import ServerError, Settings
from server.wheel import Installed, Wheel, find_tritonserver

SHM = Path("/dev/shm")
SHM_FREE_MIN = 256 * 2**20  # bytes; a stub takes 1 MiB at start, a 300 dpi page travels as pixels
FILES_MIN = 1024  # file descriptors: Triton alone has some hundred, and one for each connection
CLIENTS = ("COUNTERSIGN_KEY", "COUNTERSIGN_KEY_FILE")  # secrets that the server has no need of
STEPS_EXIT_S = 10  # how long steps may take to end once no request is in flight


def check_shm(least: int = SHM_FREE_MIN) -> None:
    """Raises ServerError if shared memory, where tensors travel, has under `least` bytes free."""
    free = shutil.disk_usage(SHM).free
    if free < least:
        raise ServerError(
            f"{SHM} has {free // 2**20} MiB free, at least {least // 2**20} MiB are needed; "
            "in a container: --shm-size=1g"
        )


def raise_files(least: int = FILES_MIN) -> None:
    """Takes all the file descriptors that this process may have. ServerError for under `least`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < least:
        raise ServerError(
            f"file descriptors: {most}, at least {least} are needed; ulimit -Hn {least}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder that is its user's alone; then it is gone, with the shared memory of its
    name. ServerError if there can be none."""
    try:
        remove_abandoned(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=readiness.FOLDER))
        lock = open(folder / "lock.new", "w")  # noqa: SIM115
    except OSError as error:
        raise ServerError(no_folder(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "lock.new").rename(folder / "lock")
        try:
            yield folder
        finally:
            remove(folder)


def remove(folder: Path) -> None:
    """Removes a server's folder, and the shared memory of its name."""
    for left in SHM.glob(f"{folder.name}*"):
        left.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(temporary: Path) -> None:
    """Removes what servers of this user left that were killed: their locks are free."""
    for path in temporary.glob(f"{readiness.FOLDER}*/lock"):
        with suppress(OSError), open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.parent.stat().st_uid == os.getuid():
                remove(path.parent)


def no_folder(error: OSError) -> str:
    """Why nothing could be written into a temporary folder, and what to do."""
    if isinstance(error, shutil.Error):  # of copytree: source, copy and reason of each file
        return f"temporary folder: {error.args[0][0][2]}; TMPDIR names another"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = f"{os.strerror(error.errno)}" if full and error.errno else str(error)
    return f"temporary folder: {reason}; TMPDIR names another"


@dataclass
class Triton:
    """A running tritonserver, as a context manager: on entry it is ready, on exit nothing is left.

    Ready means that a stored sample through each ensemble in the repository was answered, and as
    expected where the samples show the answer. `while_starting` is called now and then until then;
    what it raises stops the server.

    It listens on the settings' host and ports without looking at who asks what. If `private`, it
    listens on sockets in its folder, which its user alone can reach: http.sock, grpc.sock:1 and
    metrics.sock.
    """

    settings: Settings = field(default_factory=Settings)
    while_starting: Callable[[], None] = lambda: None
    private: bool = False
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def __enter__(self) -> "Triton":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        if self.private:
            return f"unix:/proc/self/fd/{self._folder_fd}/http.sock"  # its path may be long
        return address(self.settings.host, self.settings.http_port)

    @property
    def grpc_url(self) -> str:
        return address(self.settings.host, self.settings.grpc_port)

    @property
    def metrics_url(self) -> str:
        return address(self.settings.host, self.settings.metrics_port)

    def start(self) -> None:
        """Starts tritonserver and returns once it is ready.

        Raises ServerError if a port is taken, a piece or the repository is missing, a model fails
        to load, or a sample's answer is not the expected one; then nothing is left.
        """
        found = find_tritonserver(self.settings.triton)
        ensembles(self.settings.repository)
        if not self.settings.samples.is_dir():
            raise ServerError(f"samples {self.settings.samples}: no such folder")
        if not self.private:
            self.settings = with_free_ports(self.settings)
            check_ports(self.settings)
        check_shm()
        raise_files()
        with ExitStack() as stack:
            self.folder = stack.enter_context(private_folder())
            self._folder_fd = os.open(self.folder, os.O_PATH)
            stack.callback(os.close, self._folder_fd)
            try:
                backends = found.lay_out_backends(self.folder / "backends")
                plan = Plan(self.settings.threads)
                lay_out(self.settings.repository, self.folder / "models", plan.preprocesses)
            except OSError as error:
                raise ServerError(no_folder(error)) from error
            options = command_line(self.settings, backends, self.folder.name, self.private)
            self._process = process.start(
                [str(found.binary), *options], environment(found, self.settings), self.folder
            )
            assert self._process.stdout is not None  # it is a pipe
            stack.enter_context(self._process.stdout)
            self._log = Log(self._process.stdout, self.settings.verbose)
            stack.callback(self._log.join)
            stack.callback(process.end, self._process, 2 * STEPS_EXIT_S)
            self._wait_until_ready()
            for segment in SHM.glob(f"{self.folder.name}*"):
                segment.chmod(0o600)  # pages travel in it, and it was made for all to read
            self._stop = stack.pop_all()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        while True:
            self.while_starting()
            if self.status is not None:
                self._log.join()
                raise ServerError(self._log.failure() or f"tritonserver exited: {self.status}")
            try:
                self.check()
                return
            except (readiness.Broken, readiness.Wrong) as error:
                raise ServerError(str(error)) from error
            except readiness.NotReady as error:
                if time.monotonic() > deadline:
                    limit = self.settings.ready_timeout_s
                    raise ServerError(f"not ready after {limit:g} s: {error}") from error
            time.sleep(0.1)

    def check(self) -> None:
        """Asks the server its samples. Raises readiness.NotReady."""
        readiness.check(self.http_url, self.settings.repository, self.settings.samples)

    @property
    def pid(self) -> int:
        """tritonserver's process, which leads the group of its steps."""
        assert self._process
        return self._process.pid

    @property
    def status(self) -> int | None:
        """tritonserver's exit status, None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Ends the server and removes all that it made; requests in flight are not waited for."""
        self._stop.close()

    def kill(self) -> None:
        """Ends the server and its steps at once; stop() still has to be called."""
        if self._process:
            process.kill(self._process)


def command_line(settings: Settings, backends: Path, prefix: str, private: bool) -> list[str]:
    """tritonserver's arguments, in a folder with models/.

    Names of shared memory files begin with `prefix`. Paths are relative: Triton passes them on to
    a shell, where a space would part them.
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
    return [f"--{name}={value}" for name, value in options.items()]


def environment(found: Wheel | Installed, settings: Settings) -> dict[str, str]:
    """What tritonserver and the stubs it starts need, over this process's own variables."""
    paths = [*map(str, found.library_path), os.environ.get("LD_LIBRARY_PATH", "")]
    inherited = {name: value for name, value in os.environ.items() if name not in CLIENTS}
    return {
        **inherited,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",  # the stubs' Python
        "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
        "COUNTERSIGN_MAX_IMAGE_BYTES": str(settings.max_image_bytes),
        "COUNTERSIGN_MAX_IMAGE_PIXELS": str(settings.max_image_pixels),
        "COUNTERSIGN_THREADS": str(settings.threads),
        "COUNTERSIGN_PRECISION": settings.precision,
    }
