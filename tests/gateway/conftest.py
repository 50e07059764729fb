"""One running gateway for all tests of this folder, before the session's Triton."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from server import Server

ROOT = Path(__file__).resolve().parents[2]
READY = "ready: "


@contextmanager
def running(triton: str, *options: str) -> Iterator[str]:
    """The URL of a gateway in a process of its own, ended by SIGTERM; no log without --data."""
    command = [sys.executable, "-m", "gateway", "--port", "0", "--triton", triton, *options]
    if "--data" not in options:
        command += ["--log", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith(READY), line
            yield line.removeprefix(READY).strip()
        finally:
            process.terminate()
            assert process.wait(30) == 0


@pytest.fixture(scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the log's `data` and `store`."""
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="session")
def gateway_url(server: Server, log_folder: Path) -> Iterator[str]:
    """A gateway with the settings of all tests here; add yours."""
    log = ["--data", str(log_folder / "data"), "--store", str(log_folder / "store")]
    forms = ["--forms", str(ROOT / "examples" / "forms")]
    with running(server.grpc_url, *log, "--random-share", "1", *forms) as url:
        yield url


@pytest.fixture(scope="session")
def gateway(gateway_url: str) -> Iterator[httpx.Client]:
    """Asks that gateway."""
    with httpx.Client(base_url=gateway_url, timeout=30) as client:
        yield client
