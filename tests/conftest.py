"""What tests share: one running server, its repository, the samples."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.in_process import load_step
from countersign import Client
from server import Settings, Triton

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "server" / "samples"
ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture(scope="session")
def server() -> Iterator[Triton]:
    """The shipped model repository on a real tritonserver, ready; `http_url`, `grpc_url`."""
    with Triton(Settings(**ANY_PORTS)) as triton:
        yield triton


@pytest.fixture(params=["grpc", "http"])
def client(server: Triton, request: pytest.FixtureRequest) -> Iterator[Client]:
    """The project's client of the running server, once over each protocol."""
    with Client(getattr(server, f"{request.param}_url"), protocol=request.param) as client:
        yield client


@pytest.fixture(scope="session")
def step() -> Callable[[str], ModuleType]:
    """Loads a Python step's model.py by its model's name, as Triton's stub does."""
    return load_step


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
