"""What tests share: one running server, its repository, the samples."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from countersign import Client
from server import Settings, Triton
from server.triton import find_wheel

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

    def load(name: str) -> ModuleType:
        folder = ROOT / "model_repository" / name / "1"
        utils = find_wheel().python_backend  # has triton_python_backend_utils
        spec = spec_from_file_location(f"{name}_model", folder / "model.py")
        module = module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(utils)
            patch.syspath_prepend(folder)
            patch.delitem(sys.modules, "decode", raising=False)
            spec.loader.exec_module(module)
        return module

    return load


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
