"""What tests share: one running server, its repository, the samples."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from countersign import Client
from inprocess.model import load_module
from server import Server, Settings

if TYPE_CHECKING:
    from tests.storage import S3

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = ROOT / "model_repository"
SAMPLES = ROOT / "server" / "samples"
PROGRAMS = dict(
    line.split()
    for line in (ROOT / "requirements" / "programs.txt").read_text().splitlines()
    if not line.startswith("#")
)
ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


ORDER = ("benchmarks", "export", "training")  # folders of minutes; all others come first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick folders first; skip tests marked needs(PROGRAM) where the program is missing."""
    items.sort(
        key=lambda item: max(
            (1 + ORDER.index(part) for part in item.path.parts if part in ORDER), default=0
        )
    )
    for item in items:
        for mark in item.iter_markers("needs"):
            for program in mark.args:
                if not shutil.which(program):
                    item.add_marker(pytest.mark.skip(reason=f"{program} is not installed"))
                    item.user_properties.append(("missing", PROGRAMS[program]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped for want of programs, and what installs these."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = [
        [package for name, package in getattr(report, "user_properties", ()) if name == "missing"]
        for report in skipped
    ]
    packages = sorted(set().union(*missing))
    if packages:
        terminalreporter.write_line(
            f"{sum(map(bool, missing))} tests were skipped for want of programs; as root, this"
            f" installs them: apt-get install {' '.join(packages)}"
        )


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(worker_id: str) -> Iterator[None]:
    """Tests side by side have one each: a server that starts looks there for dead ones."""
    if worker_id == "master":  # nobody is beside it
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tests-") as folder, pytest.MonkeyPatch.context() as to:
        os.chmod(folder, 0o711)  # PostgreSQL is another user
        to.setenv("TMPDIR", folder)
        to.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A copy of the shipped model repository behind the front; `http_url`, `grpc_url`."""
    repository = tmp_path_factory.mktemp("served") / "model_repository"
    shutil.copytree(Settings().repository, repository)
    with Server(Settings(repository=repository, **ANY_PORTS)) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator["S3"]:
    """An S3 service, which the variables AWS_* name from its first use on."""
    from tests import storage  # what it imports takes seconds

    with storage.serving() as s3:
        yield s3


@pytest.fixture(params=["grpc", "http"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    """The project's client of the running server, once over each protocol."""
    with Client(getattr(server, f"{request.param}_url"), protocol=request.param) as client:
        yield client


@pytest.fixture(scope="session")
def step() -> Callable[[str], ModuleType]:
    """Loads a Python step's model.py by its model's name, as Triton's stub does."""
    return lambda name: load_module(REPOSITORY / name / "1" / "model.py")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample pages and CAPTCHAs."""
    return SAMPLES


@pytest.fixture(scope="session")
def sample_pages() -> dict[str, dict]:
    """File name -> {"boxes": [{"class", "xyxy"}]} of the sample pages."""
    return json.loads((SAMPLES / "pages.json").read_text())


@pytest.fixture(scope="session")
def sample_captchas() -> dict[str, str]:
    """File name -> six digits of the sample CAPTCHAs."""
    return json.loads((SAMPLES / "captchas.json").read_text())
