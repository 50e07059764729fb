"""One tritonserver process: found, laid out, started, watched, stopped without a trace."""

import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

from server import readiness
from server.cores import Plan, usable_cores

ROOT = Path(__file__).resolve().parents[1]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SHM = Path("/dev/shm")
SHM_FREE_MIN = 256 * 2**20  # bytes; a stub takes 1 MiB at start, a 300 dpi page travels as pixels
RESTRICTED = "model-repository,shared-memory,trace,logging"  # APIs that users have no need of
ADMIN_HEADER = "countersign-admin"  # what these APIs ask for; its value is made at each start
STEPS_EXIT_S = 10  # how long steps may take to end once no request is in flight

# Python code that becomes the command after it, which ends should its parent be killed. Popen's
# preexec_fn would do, but runs in a fork, which a gRPC client in this process can bring down
PR_SET_PDEATHSIG = 1
DIE_WITH_PARENT = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGTERM:d}); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class ServerError(RuntimeError):
    """The server cannot run here as asked; the text says what stands in the way."""


@dataclass(frozen=True)
class Settings:
    """What a server is started with. Port 0 takes any free port."""

    repository: Path = ROOT / "model_repository"
    samples: Path = readiness.SAMPLES
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 100_000_000
    ready_timeout_s: float = 120
    exit_timeout_s: int = 30  # how long requests in flight may take at exit
    threads: int = usable_cores()  # cores to plan for; config.pbtxt may ask for others
    precision: str = ""  # of OpenVINO models: f32, bf16; else what the CPU is quickest at
    verbose: bool = False  # all that tritonserver logs, not only warnings and errors


@dataclass(frozen=True)
class Wheel:
    """The pieces of nvidia-pytriton that make a server, without PyTriton's own Python."""

    binary: Path
    python_backend: Path  # folder with libtriton_python.so and triton_python_backend_utils.py
    stub: Path  # of the running Python's version
    library_path: list[Path]  # for LD_LIBRARY_PATH: the wheel's libraries and libpython


def find_wheel(version: str = PYTHON) -> Wheel:
    """The installed wheel's pieces for a Python `version`, as 3.11.

    Raises ServerError if one is missing, with the remedy.
    """
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"nvidia-pytriton is not installed in {sys.prefix}: it carries tritonserver; "
            "pip install -r requirements/serve.txt"
        )
    package = Path(spec.submodule_search_locations[0])
    triton = package / "tritonserver"
    stubs = triton / "python_backend_stubs"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.exists():
        known = ", ".join(sorted(path.name for path in stubs.iterdir()))
        raise ServerError(f"Python {version} has no Triton stub; Pythons with one: {known}")
    return Wheel(
        triton / "bin" / "tritonserver",
        triton / "backends" / "python",
        stub,
        [package.parent / "nvidia_pytriton.libs", *libpython_dirs(version)],
    )


def libpython_dirs(version: str) -> list[Path]:
    """Where the running version's libpython lies, [] if the loader knows; else ServerError."""
    name = f"libpython{version}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib"):
        if folder and (Path(folder) / name).exists():
            return [Path(folder)]
    try:
        ctypes.CDLL(name)
    except OSError:
        raise ServerError(
            f"{name} not found: Triton's Python stub needs Python as a shared library. "
            f"On Debian and Ubuntu: apt-get install libpython{version}; "
            "with pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install"
        ) from None
    return []


def lay_out_backends(wheel: Wheel, folder: Path) -> None:
    """Fills `folder` as tritonserver's --backend-directory: python, and this project's stand-ins.

    Copies, since tritonserver refuses a link that leads out of that directory.
    """
    shutil.copytree(wheel.python_backend, folder / "python")
    shutil.copy2(wheel.stub, folder / "python")
    shutil.copytree(ROOT / "backends", folder, dirs_exist_ok=True)


def free_port(host: str) -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server((host, 0)) as listener:
        return listener.getsockname()[1]


def check_ports(settings: Settings) -> None:
    """Raises ServerError that names the first port somebody listens on."""
    for name in ("http_port", "grpc_port", "metrics_port"):
        port = getattr(settings, name)
        try:
            socket.create_server((settings.host, port)).close()
        except OSError as error:
            option = "--" + name.replace("_", "-")
            reason = os.strerror(error.errno) if error.errno else error
            raise ServerError(
                f"{settings.host}:{port} cannot be listened on: {reason}; {option} chooses another"
            ) from error


def check_shm(least: int = SHM_FREE_MIN) -> None:
    """Raises ServerError if shared memory, where tensors travel, has under `least` bytes free."""
    free = shutil.disk_usage(SHM).free
    if free < least:
        raise ServerError(
            f"{SHM} has {free // 2**20} MiB free, at least {least // 2**20} MiB are needed; "
            "in a container: --shm-size=1g"
        )


def check_repository(repository: Path) -> None:
    """Raises ServerError if there is no model in `repository`."""
    if not repository.is_dir():
        raise ServerError(f"model repository {repository}: no such folder")
    if not any(repository.glob("*/config.pbtxt")):
        raise ServerError(f"model repository {repository}: no folder in it has a config.pbtxt")


@dataclass
class Triton:
    """A running server, as a context manager: on entry it is ready, on exit nothing is left.

    Ready means that a stored sample through each ensemble in the repository that has samples
    gave the expected answer. `while_starting` is called now and then until then; what it raises
    stops the server.
    """

    settings: Settings = field(default_factory=Settings)
    while_starting: Callable[[], None] = lambda: None

    def __enter__(self) -> "Triton":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        return f"{self.settings.host}:{self.settings.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"{self.settings.host}:{self.settings.grpc_port}"

    @property
    def metrics_url(self) -> str:
        return f"{self.settings.host}:{self.settings.metrics_port}"

    def start(self) -> None:
        """Starts tritonserver and returns once it is ready.

        Raises ServerError if a port is taken, a piece or the repository is missing, a model fails
        to load, or a sample's answer is not the expected one within `ready_timeout_s`; then
        nothing is left running.
        """
        wheel = find_wheel()
        check_repository(self.settings.repository)
        if not self.settings.samples.is_dir():
            raise ServerError(f"samples {self.settings.samples}: no such folder")
        self.settings = with_free_ports(self.settings)
        check_ports(self.settings)
        check_shm()
        self._folder = Path(tempfile.mkdtemp(prefix="countersign-"))
        lay_out_backends(wheel, self._folder)
        self._key = secrets.token_hex(16)
        command = command_line(wheel, self.settings, self._folder, self._key)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, *command],
            env=environment(wheel, self.settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it through stop() alone
            errors="replace",
            text=True,
        )
        assert self._process.stdout is not None  # it is a pipe
        self._log = Log(self._process.stdout, self.settings.verbose)
        try:
            self._wait_until_ready()
            self._use_cores()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        while True:
            self.while_starting()
            if self._process.poll() is not None:
                self._log.join()
                raise ServerError(self._log.failure() or f"tritonserver exited: {self.status}")
            try:
                readiness.check(self.http_url, self.settings.samples)
                return
            except readiness.NotReady as error:
                if time.monotonic() > deadline:
                    limit = self.settings.ready_timeout_s
                    raise ServerError(f"not ready after {limit:g} s: {error}") from error
            time.sleep(0.1)

    def _use_cores(self) -> None:
        """Starts the plan's processes of document_preprocess if its config.pbtxt has fewer.

        Triton loads the step again, beside the one that serves, with `count` as its one change.
        """
        step = "document_preprocess"
        if step not in self._models():
            return
        config = readiness.call(f"{self.http_url}/v2/models/{step}/config", timeout_s=5)
        changed = json.loads(config)
        planned = Plan(self.settings.threads).preprocesses
        if changed["instance_group"][0]["count"] < planned:
            changed["instance_group"][0]["count"] = planned
            body = {"parameters": {"config": json.dumps(changed)}}
            try:
                self._control(f"models/{step}/load", body, self.settings.ready_timeout_s)
            except readiness.NotReady as error:
                raise ServerError(f"{step} in {planned} processes: {error}") from error
            self._wait_until_ready()

    @property
    def status(self) -> int | None:
        """tritonserver's exit status, None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Lets requests in flight finish, then ends the server and removes all that it made."""
        if self._process.poll() is None:
            self._drain()
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * STEPS_EXIT_S)
        self.kill()
        self._log.join()
        for left in SHM.glob(f"{self._folder.name}*"):
            left.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _drain(self) -> None:
        """Unloads the ensembles: Triton refuses new requests and finishes those it has.

        SIGTERM alone would stop the steps, and with them each request that is between two.
        """
        deadline = time.monotonic() + self.settings.exit_timeout_s
        with suppress(readiness.NotReady):  # it may not be up yet, or be dead
            for ensemble in self._models():
                if (
                    '"ensemble"'
                    in (self.settings.repository / ensemble / "config.pbtxt").read_text()
                ):
                    self._control(f"models/{ensemble}/unload")
            while time.monotonic() < deadline and "UNLOADING" in self._models().values():
                time.sleep(0.05)

    def _models(self) -> dict[str, str]:
        """Each model's name and the state of its newest version."""
        return {model["name"]: model.get("state", "") for model in self._control("index")}

    def _control(self, what: str, body: dict | None = None, timeout_s: float = 5) -> list[dict]:
        url = f"{self.http_url}/v2/repository/{what}"
        sent = json.dumps(body or {}).encode()
        answer = readiness.call(url, timeout_s, sent, headers={ADMIN_HEADER: self._key})
        return json.loads(answer or "[]")

    def kill(self) -> None:
        """Ends the server and its steps at once; stop() still has to be called."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def with_free_ports(settings: Settings) -> Settings:
    """`settings` with each port 0 replaced by one that is free."""
    return replace(
        settings,
        http_port=settings.http_port or free_port(settings.host),
        grpc_port=settings.grpc_port or free_port(settings.host),
        metrics_port=settings.metrics_port or free_port(settings.host),
    )


def command_line(wheel: Wheel, settings: Settings, backends: Path, key: str) -> list[str]:
    """tritonserver's arguments; shared memory files get the name of the folder `backends`."""
    options = {
        "model-repository": settings.repository,
        "backend-directory": backends,
        "backend-config": f"python,shm-region-prefix-name={backends.name}_",
        "exit-timeout-secs": STEPS_EXIT_S,
        # models are unloaded to drain them, by whoever knows the key alone
        "model-control-mode": "explicit",
        "load-model": "*",
        "http-restricted-api": f"{RESTRICTED}:{ADMIN_HEADER}={key}",
        "grpc-restricted-protocol": f"{RESTRICTED}:{ADMIN_HEADER}={key}",
        "allow-gpu-metrics": "false",
        "pinned-memory-pool-byte-size": 0,
    }
    for endpoint in ("http", "grpc", "metrics"):
        options[f"{endpoint}-address"] = settings.host
        options[f"{endpoint}-port"] = getattr(settings, f"{endpoint}_port")
    return [str(wheel.binary), *(f"--{name}={value}" for name, value in options.items())]


def environment(wheel: Wheel, settings: Settings) -> dict[str, str]:
    """What tritonserver and the stubs it starts need, over this process's own variables."""
    paths = [*map(str, wheel.library_path), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        **os.environ,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",  # the stubs' Python
        "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
        "COUNTERSIGN_MAX_IMAGE_BYTES": str(settings.max_image_bytes),
        "COUNTERSIGN_MAX_IMAGE_PIXELS": str(settings.max_image_pixels),
        "COUNTERSIGN_THREADS": str(settings.threads),
        "COUNTERSIGN_PRECISION": settings.precision,
    }


class Log:
    """tritonserver's output: forwards what matters to stderr, remembers why a model failed."""

    # a CPU server has no GPU, which Triton reports as errors; the rest is in failure()
    NOISE = re.compile(r"CudaDriverHelper|CUDA driver|NVML|DCGM|pinned|GPU|depends on")
    FAILED = re.compile(r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.*)")

    def __init__(self, lines: Iterable[str], verbose: bool):
        self.failures: dict[str, str] = {}
        self.errors: list[str] = []
        self._thread = Thread(target=self._read, args=(lines, verbose), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterable[str], verbose: bool) -> None:
        for line in lines:
            if failed := self.FAILED.search(line):
                self.failures[failed["model"]] = failed["why"].strip().strip('"')
            elif line.startswith("error:"):
                self.errors.append(line.strip())
            matters = line[:1] in "EW" and not failed and not self.NOISE.search(line)
            if verbose or matters:
                print(line, end="", file=sys.stderr, flush=True)

    def join(self) -> None:
        """Waits until all that was written has been read."""
        self._thread.join(timeout=5)

    def failure(self) -> str:
        """Which models failed to load and why, else tritonserver's last words, else ''."""
        if self.failures:
            reasons = "; ".join(f"{model}: {why}" for model, why in self.failures.items())
            return f"models failed to load: {reasons}"
        return "; ".join(self.errors)
