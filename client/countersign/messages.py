"""What is sent and what comes back: requests built and replies parsed, for every connection."""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from countersign.errors import Refused

Confidence = float | Mapping[str, float]

DETECTOR = "document_detector"
DETECTOR_OUTPUTS = ("boxes", "scores", "labels", "page_size")
READER = "captcha_reader"
READER_OUTPUTS = ("text", "confidence", "digit_confidence")
MODELS: dict[str, Any] = {}  # the arguments of get_inference_statistics for all that is loaded
READER_SETTINGS = {"model_name": "captcha_postprocess"}  # its config has the operating point


class Reply(Protocol):
    """An answered inference, as tritonclient's InferResult."""

    def as_numpy(self, name: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Detection:
    """One signature or stamp."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    score: float  # [0, 1]
    label: str


@dataclass(frozen=True)
class Model:
    """One ensemble of the server, and where its answers begin by default: its operating point."""

    name: str
    version: int  # of its graph
    confidence: Confidence | None  # a detector's {class: score}, a reader's score or None


@dataclass(frozen=True, eq=False)
class Detections:
    """N signatures and stamps of one page, best score first; iterating gives each Detection."""

    boxes: npt.NDArray[np.float32]  # (N, 4) x0 y0 x1 y1, pixels of the page with EXIF applied
    scores: npt.NDArray[np.float32]  # (N,) in [0, 1]
    labels: tuple[str, ...]  # N class names
    page_size: tuple[int, int]  # width, height in pixels with EXIF applied

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detection]:
        found = zip(self.boxes.tolist(), self.scores.tolist(), self.labels, strict=True)
        for box, score, label in found:
            yield Detection(tuple(box), score, label)


@dataclass(frozen=True)
class Reading:
    """The text of one CAPTCHA. Use it if `certain`; else fetch a new image, do not guess."""

    text: str  # six digits
    confidence: float  # probability that all of `text` is right, [0, 1]
    digit_confidence: tuple[float, ...]  # probability of each digit, [0, 1]
    certain: bool | None  # confidence reaches the operating point; None if none is known


def detect_arguments(
    triton: ModuleType,
    image: bytes,
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    model: str = DETECTOR,
) -> dict[str, Any]:
    """The arguments of tritonclient's `infer`; `triton` is its grpc or http module.

    Settings left None are not sent: the server then takes the model's own.
    """
    parameters: dict[str, float | int] = {}
    if isinstance(confidence, Mapping):
        for name, value in confidence.items():
            parameters[f"confidence_{name}"] = _number(f"confidence of {name}", value)
    elif confidence is not None:
        parameters["confidence"] = _number("confidence", confidence)
    if iou is not None:
        parameters["iou"] = _number("iou", iou)
    if max_detections is not None:
        parameters["max_detections"] = _whole_number("max_detections", max_detections)
    return {"parameters": parameters, **_arguments(triton, model, DETECTOR_OUTPUTS, image)}


def read_arguments(triton: ModuleType, image: bytes) -> dict[str, Any]:
    """The arguments of tritonclient's `infer`; `triton` is its grpc or http module."""
    return _arguments(triton, READER, READER_OUTPUTS, image)


def to_detections(reply: Reply) -> Detections:
    """The detector's reply as a record."""
    width, height = reply.as_numpy("page_size").tolist()
    labels = tuple(label.decode() for label in reply.as_numpy("labels").tolist())
    return Detections(reply.as_numpy("boxes"), reply.as_numpy("scores"), labels, (width, height))


def to_reading(reply: Reply, min_confidence: float | None) -> Reading:
    """The reader's reply as a record; `min_confidence` is the operating point, None if unknown."""
    confidence = float(reply.as_numpy("confidence")[0])
    return Reading(
        text=reply.as_numpy("text")[0].decode(),
        confidence=confidence,
        digit_confidence=tuple(reply.as_numpy("digit_confidence").tolist()),
        certain=None if min_confidence is None else confidence >= min_confidence,
    )


def to_min_confidence(config: Any) -> float | None:
    """The operating point in a model config, HTTP's JSON or gRPC's message; None if it has none."""
    text = parameters_of(config).get("min_confidence")
    return float(text) if text else None


def parameters_of(config: Any) -> dict[str, str]:
    """The string parameters of a model config, HTTP's JSON or gRPC's message."""
    if isinstance(config, Mapping):
        parameters = config.get("parameters", {})
        return {name: value.get("string_value", "") for name, value in parameters.items()}
    return {name: value.string_value for name, value in config.config.parameters.items()}


def to_versions(statistics: Any) -> dict[str, int]:
    """Each loaded model's name and newest version, of the statistics of either protocol."""
    if isinstance(statistics, Mapping):
        loaded = [(model["name"], model["version"]) for model in statistics["model_stats"]]
    else:
        loaded = [(model.name, model.version) for model in statistics.model_stats]
    versions: dict[str, int] = {}
    for name, version in loaded:
        versions[name] = max(versions.get(name, 0), int(version))
    return versions


def to_steps(config: Any) -> list[str]:
    """The steps of an ensemble in a model config of either protocol; [] for any other model."""
    if isinstance(config, Mapping):
        return [
            step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", [])
        ]
    return [step.model_name for step in config.config.ensemble_scheduling.step]


def to_models(versions: Mapping[str, int], configs: Mapping[str, Any]) -> list[Model]:
    """The ensembles among the loaded models, by name; all of their configs are given.

    Their last step has the operating point, the one before it the graph.
    """
    models = []
    for name in sorted(versions):
        steps = to_steps(configs[name])
        if len(steps) < 2 or not set(steps) <= set(configs):
            continue
        *_, graph, postprocess = steps
        settings = parameters_of(configs[postprocess])
        confidence: Confidence | None = to_min_confidence(configs[postprocess])
        if classes := settings.get("classes"):
            confidence = {one: float(settings[f"confidence_{one}"]) for one in classes.split(",")}
        models.append(Model(name, versions[graph], confidence))
    return models


def _arguments(
    triton: ModuleType, model: str, outputs: tuple[str, ...], image: bytes
) -> dict[str, Any]:
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([image], np.object_))
    requested = [triton.InferRequestedOutput(name) for name in outputs]
    return {"model_name": model, "inputs": [tensor], "outputs": requested}


def _number(name: str, value: float) -> float:
    try:
        return float(value)  # of numpy's too, which tritonclient does not take
    except (TypeError, ValueError) as error:
        raise Refused(f"{name}: {value!r}, expected a number") from error


def _whole_number(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise Refused(f"{name}: {value!r}, expected a whole number") from error
