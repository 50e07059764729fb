"""One model of a repository, loaded as Triton's Python backend loads it, but in this process.

A Python step is its own model.py; a graph runs in the stand-in for its backend, backends/NAME,
which is what serves it under the Triton from PyPI.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Lock, RLock
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf import json_format

from inprocess import triton
from inprocess.repository import newest_version, read_config

BACKENDS = Path(__file__).resolve().parents[1] / "backends"
API = "triton_python_backend_utils"

Tensors = dict[str, np.ndarray]

_loading = RLock()  # modules and environment are the whole process's


def load_module(file: Path) -> ModuleType:
    """A step's or backend's model.py as a module of its own, with the files beside it.

    Its imports of those files and of Triton's API leave nothing in sys.modules or sys.path.
    """
    spec = spec_from_file_location(f"{file.parents[1].name}_model", file)
    if spec is None or spec.loader is None or not file.exists():
        raise ValueError(f"{file}: no Python module")
    module = module_from_spec(spec)
    beside = {path.stem for path in file.parent.glob("*.py")}
    with _loading, _modules({API, *beside}):
        sys.modules[API] = triton
        sys.path.insert(0, str(file.parent))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(file.parent))
    return module


@contextmanager
def _modules(names: set[str]) -> Iterator[None]:
    """While open, sys.modules lacks these; afterwards it has what it had of them."""
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Model:
    """A step or graph of a repository. May be called from several threads."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Loads the newest version in a model's folder.

        `environment`: COUNTERSIGN_* variables that the server would set. ValueError if the model
        cannot be loaded, with the reason.
        """
        config = read_config(folder / "config.pbtxt")
        version = str(newest_version(folder))
        config.name = folder.name
        del config.instance_group[:]
        config.instance_group.add(count=1)
        in_version = folder / version / (config.default_model_filename or "model.py")
        file = in_version if config.backend == "python" else _backend(config.backend)
        self.outputs = [output.name for output in config.output]
        arguments = {
            "model_config": json_format.MessageToJson(
                config,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            ),
            "model_name": folder.name,
            "model_repository": str(folder),
            "model_version": version,
            "model_instance_name": f"{folder.name}_0",
        }
        # a backend expects one request at a time, as an instance of Triton's gets them; steps are
        # pure functions
        self._turn = nullcontext() if config.backend == "python" else Lock()
        with _loading, _environment(environment):
            self._model: Any = load_module(file).TritonPythonModel()
            try:
                self._model.initialize(arguments)
            except triton.TritonModelException as error:
                raise ValueError(f"{folder}: {error}") from error

    def __call__(
        self, inputs: Tensors, outputs: list[str], parameters: Mapping[str, object]
    ) -> Tensors:
        """The outputs of one request, those that were asked for among them.

        ValueError for what the model refuses, RuntimeError for what fails, with its words.
        """
        tensors = [triton.Tensor(name, array) for name, array in inputs.items()]
        request = triton.InferenceRequest(tensors, outputs, parameters)
        with self._turn:
            answered = self._model.execute([request])  # None of a model that answers later
        response = answered[0] if answered else request.response.result()
        if error := response.error():
            refused = error.code() == triton.TritonError.INVALID_ARG
            raise (ValueError if refused else RuntimeError)(error.message())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def _backend(name: str) -> Path:
    file = BACKENDS / name / "model.py"
    if not file.exists():
        known = sorted(path.parent.name for path in BACKENDS.glob("*/model.py"))
        raise ValueError(f"backend {name!r}: unknown, known are python, {', '.join(known)}")
    return file
