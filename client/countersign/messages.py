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
    return {"parameters": parameters, **_arguments(triton, DETECTOR, DETECTOR_OUTPUTS, image)}


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
    if isinstance(config, Mapping):
        text = config.get("parameters", {}).get("min_confidence", {}).get("string_value")
    else:
        text = config.config.parameters["min_confidence"].string_value
    return float(text) if text else None


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
