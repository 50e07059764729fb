"""The work of an ensemble in one process, with the served steps' own functions and IR.

What serving costs is the difference: transport, scheduling, and tensors handed from step to step.
"""

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import openvino as ov

from server.triton import find_wheel

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"


def load_step(name: str, repository: Path = REPOSITORY) -> ModuleType:
    """A Python step's model.py, imported with the modules that Triton's stub lets it see."""
    folder = repository / name / "1"
    spec = spec_from_file_location(f"{name}_model", folder / "model.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: no Python module")
    module = module_from_spec(spec)
    beside = [str(folder), str(find_wheel().python_backend)]
    sys.path[:0] = beside
    for beside_it in ("decode", "fit", "heads"):  # each step has its own
        sys.modules.pop(beside_it, None)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.path[: len(beside)]
    return module


def captcha_reader(repository: Path = REPOSITORY) -> Callable[[bytes], str]:
    """What captcha_reader does to an image file: bytes -> six digits."""
    preprocess = load_step("captcha_preprocess", repository)
    postprocess = load_step("captcha_postprocess", repository)
    versions = (repository / "captcha_heads").glob("[0-9]*/model.xml")
    newest = max(versions, key=lambda path: int(path.parent.name))
    compiled = ov.Core().compile_model(newest, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    _, height, width = compiled.input().shape

    def read(image: bytes) -> str:
        file, header = preprocess.open_image(image)
        shrink = min(1.0, max(width, height) / min(header.size))
        pixels, _ = preprocess.read_pixels(file, header, shrink, grey=True)
        logits = compiled(preprocess.to_pixels(pixels, width, height))[0]
        text, _ = postprocess.read(np.asarray(logits)[0])
        return text

    return read
