from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from server.settings import ROOT
from server.wheel import find_wheel


@pytest.fixture(scope="session")
def load_backend() -> Callable[[str], ModuleType]:
    """`load_backend(name)` imports a stand-in's model.py as Triton's stub would."""

    def load(name: str) -> ModuleType:
        path = ROOT / "backends" / name / "model.py"
        spec = spec_from_file_location(f"{name}_backend", path)
        module = module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(find_wheel().python_backend)
            spec.loader.exec_module(module)
        return module

    return load
