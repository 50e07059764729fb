"""The work of an ensemble in one process, with the served steps' own functions and IR.

What serving costs is the difference: transport, scheduling, and tensors handed from step to step.
"""

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from google.protobuf.json_format import MessageToDict

from export.repository import read_config
from server.settings import ROOT
from server.wheel import find_wheel

REPOSITORY = ROOT / "model_repository"
LATENCY = {"PERFORMANCE_HINT": "LATENCY"}  # as the steps are served


class Found(NamedTuple):
    """What the detector finds on one page, best score first."""

    boxes: np.ndarray  # (N, 4) float32 x0 y0 x1 y1, pixels of the page
    scores: np.ndarray  # (N,) float32
    labels: list[str]


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


def newest_ir(model: str, repository: Path = REPOSITORY) -> Path:
    """model.xml of the version that Triton serves."""
    versions = (repository / model).glob("[0-9]*/model.xml")
    return max(versions, key=lambda path: int(path.parent.name))


def step_parameters(model: str, repository: Path = REPOSITORY) -> dict[str, str]:
    """The `parameters` of a step's config.pbtxt."""
    config = read_config(repository / model / "config.pbtxt")
    return {name: value.string_value for name, value in config.parameters.items()}


def openvino_model(path: Path, settings: dict | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """A graph of one input and one output, compiled with OpenVINO `settings`, as a function."""
    compiled = ov.Core().compile_model(path, "CPU", settings or LATENCY)
    request = compiled.create_infer_request()
    return lambda pixels: request.infer(pixels, share_inputs=True, share_outputs=True)[0]


def detector_stages(
    infer: Callable[[np.ndarray], np.ndarray], repository: Path = REPOSITORY, slack: float = 0
) -> dict[str, Callable[[Any], Any]]:
    """document_detector's work in its order, each stage taking what the one before gave.

    The first takes an image file's bytes, the last gives Found. `infer` takes pixels
    (1, H, W, 3) uint8 and gives predictions (1, 4 + C, A); thresholds are lowered by `slack`.
    """
    before = load_step("document_preprocess", repository)
    after = load_step("document_postprocess", repository)
    own = step_parameters("document_postprocess", repository)
    classes = own["classes"].split(",")
    confidence = [float(own[f"confidence_{name}"]) - slack for name in classes]
    limits = after.Thresholds(
        np.array(confidence, np.float32), float(own["iou"]), int(own["max_detections"])
    )
    configured = MessageToDict(
        read_config(repository / "document_preprocess" / "config.pbtxt"),
        preserving_proto_field_name=True,
    )
    ensemble = read_config(repository / "document_detector" / "config.pbtxt").ensemble_scheduling
    (pixels,) = (name for name in ensemble.step[0].output_map if name.startswith("pixels"))
    fit = before.fits_of(configured)[pixels.removeprefix("pixels")]

    def decode(sent: bytes):
        image = before.open_image(sent)
        shrink = min(1.0, max(before.scales(*image.size, fit)))
        return before.read_pixels(image, shrink, grey=False), image.size

    def preprocess(decoded):
        page, size = decoded
        box = before.letterbox(*size, fit)
        return before.to_pixels(page, box, fit), box, size

    def inference(prepared):
        pixels, box, size = prepared
        return infer(pixels), box, size

    def postprocess(predicted):
        predictions, box, size = predicted
        xyxy, scores, class_ids = after.heads.grid(predictions[0], limits)
        boxes = after.to_page(xyxy, np.array(box, np.float32), np.array(size, np.int32))
        return Found(boxes, scores, [classes[class_id] for class_id in class_ids])

    return {
        "decode": decode,
        "preprocess": preprocess,
        "inference": inference,
        "postprocess": postprocess,
    }


def document_detector(
    repository: Path = REPOSITORY, settings: dict | None = None, slack: float = 0
) -> Callable[[bytes], Found]:
    """What document_detector does to an image file; `slack` lowers its thresholds."""
    infer = openvino_model(newest_ir("document_yolo", repository), settings)
    return chained(detector_stages(infer, repository, slack))


def chained(stages: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """The stages one after the other, as one function."""

    def run(value: Any) -> Any:
        for stage in stages.values():
            value = stage(value)
        return value

    return run


def captcha_reader(
    repository: Path = REPOSITORY, settings: dict | None = None
) -> Callable[[bytes], str]:
    """What captcha_reader does to an image file: bytes -> six digits."""
    preprocess = load_step("captcha_preprocess", repository)
    postprocess = load_step("captcha_postprocess", repository)
    newest = newest_ir("captcha_heads", repository)
    compiled = ov.Core().compile_model(newest, "CPU", settings or LATENCY)
    _, height, width = compiled.input().shape

    def read(image: bytes) -> str:
        encoded = preprocess.open_image(image)
        shrink = min(1.0, max(width, height) / min(encoded.size))
        pixels = preprocess.read_pixels(encoded, shrink, grey=True)
        logits = compiled(preprocess.to_pixels(pixels, width, height))[0]
        text, _ = postprocess.read(np.asarray(logits)[0])
        return text

    return read
