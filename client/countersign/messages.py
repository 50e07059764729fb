"""What is sent and what comes back, the same over both protocols."""

import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from countersign.errors import Refused
from countersign.pages import Page

Confidence = float | Mapping[str, float]
Parameters = Mapping[str, float | int | str]

DETECTOR = "document_detector"
READER = "captcha_reader"
OPERATING_POINTS = ("accept", "review")
NO_HEADERS: Mapping[str, str] = {}

OUTPUTS_SINCE = dict.fromkeys(  # that replies of old model repositories lack
    ("certain", "threshold"),
    "the server's captcha_reader is too old to be relied on: export it again",
)


@dataclass(frozen=True)
class Infer:
    """Asks a model about one image file. All of its outputs come back."""

    model: str
    image: bytes = field(repr=False)
    parameters: Parameters = field(default_factory=dict)
    # by which the logs of front, gateway and tritonserver know it; each attempt has the same
    id: str = field(default_factory=lambda: uuid4().hex, compare=False)


@dataclass(frozen=True)
class Statistics:
    """Asks which models are loaded."""


@dataclass(frozen=True)
class Config:
    """Asks for a model's config.pbtxt."""

    model: str


Request = Infer | Statistics | Config


def id_headers(request: Request) -> Mapping[str, str]:
    """The headers that tell a request's id, if it has one, and the caller's trace, if there is one.

    A trace is OpenTelemetry's current span, in a program that has imported that.
    """
    if not isinstance(request, Infer):
        return NO_HEADERS
    headers = {"x-request-id": request.id}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers


class Reply(Protocol):
    """An answered inference, as tritonclient's InferResult."""

    def as_numpy(self, name: str) -> np.ndarray | None:
        """The output of that name, None if the model has none."""


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
    review: Mapping[str, float] | None = None  # a detector's lower point, if it has one


@dataclass(frozen=True, eq=False)
class Detections:
    """N signatures and stamps of one page, best score first; iterating gives each Detection."""

    boxes: npt.NDArray[np.float32]  # (N, 4) x0 y0 x1 y1, pixels of the page with EXIF applied
    scores: npt.NDArray[np.float32]  # (N,) in [0, 1]
    labels: tuple[str, ...]  # N class names
    page_size: tuple[int, int]  # width, height in pixels with EXIF applied
    page: int = 1  # which page of its file this is, from 1
    page_count: int = 1  # how many the file has

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detection]:
        found = zip(self.boxes.tolist(), self.scores.tolist(), self.labels, strict=True)
        for box, score, label in found:
            yield Detection(tuple(box), score, label)


@dataclass(frozen=True, eq=False)
class PageDetections(Detections):
    """Those of a page of a document; of a PDF also in points, with what it says of itself.

    Points (1/72 inch) are from the top left of the page as it is shown.
    """

    size_points: tuple[float, float] | None = None  # width, height of a PDF's page
    boxes_points: npt.NDArray[np.float64] | None = None  # (N, 4)
    signature_fields: tuple[Mapping[str, Any], ...] = ()  # name, signed, bbox_points or None
    stamp_annotations: tuple[Mapping[str, Any], ...] = ()  # name, bbox_points


@dataclass(frozen=True)
class Reading:
    """The text of one CAPTCHA. Use it if `certain`; else fetch a new image, do not guess."""

    text: str  # as many characters as the portal's CAPTCHAs have, 6 digits of the shipped reader
    confidence: float  # probability that all of `text` is right, [0, 1]
    digit_confidence: tuple[float, ...]  # probability of each character, [0, 1]
    certain: bool  # the text can be relied on
    threshold: float  # `confidence` from which on it can


def detect_parameters(
    confidence: Confidence | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    page: int = 1,
    operating_point: str | None = None,
) -> Parameters:
    """The request parameters of these settings.

    Those left None, and page 1, are not sent: the server then takes the model's own. Raises
    Refused for a setting of another type, and for another operating point.
    """
    parameters: dict[str, float | int | str] = {}
    if isinstance(confidence, Mapping):
        for name, value in confidence.items():
            parameters[f"confidence_{name}"] = _number(f"confidence of {name}", value)
    elif confidence is not None:
        parameters["confidence"] = _number("confidence", confidence)
    if iou is not None:
        parameters["iou"] = _number("iou", iou)
    if max_detections is not None:
        parameters["max_detections"] = _whole_number("max_detections", max_detections)
    if (number := _whole_number("page", page)) != 1:
        parameters["page"] = number
    if operating_point is not None:
        if operating_point not in OPERATING_POINTS:
            expected = " or ".join(OPERATING_POINTS)
            raise Refused(f"operating_point: {operating_point!r}, expected {expected}")
        parameters["operating_point"] = operating_point
    return parameters


def to_detections(reply: Reply, page: int) -> Detections:
    """The detector's reply for that page as a record."""
    width, height = _output(reply, "page_size").tolist()
    count = reply.as_numpy("page_count")
    return Detections(
        boxes=_output(reply, "boxes"),
        scores=_output(reply, "scores"),
        labels=tuple(label.decode() for label in _output(reply, "labels").tolist()),
        page_size=(width, height),
        page=page,
        page_count=page if count is None else int(count[0]),
    )


def to_page(found: Detections, page: Page, page_count: int) -> PageDetections:
    """What was found on that page of a document of so many."""
    return PageDetections(
        found.boxes,
        found.scores,
        found.labels,
        found.page_size,
        page.number,
        page_count,
        page.size_points,
        None if page.matrix is None else page.to_points(found.boxes),
        tuple(page.signature_fields),
        tuple(page.stamp_annotations),
    )


def to_reading(reply: Reply, min_confidence: float | None = None) -> Reading:
    """The reader's reply as a record; `min_confidence` replaces the server's threshold.

    What the server is not certain of in spite of its threshold, as no image of six digits, stays
    uncertain. Raises Refused for a reply that does not say whether it is certain, as those of
    model repositories of before that: an unjudged text is not to be used.
    """
    confidence = float(_output(reply, "confidence")[0])
    certain = bool(_output(reply, "certain")[0])
    threshold = float(_output(reply, "threshold")[0])
    if min_confidence is not None:
        rejected = not certain and confidence >= threshold
        threshold = _number("min_confidence", min_confidence)
        certain = confidence >= threshold and not rejected
    return Reading(
        text=_output(reply, "text")[0].decode(),
        confidence=confidence,
        digit_confidence=tuple(_output(reply, "digit_confidence").tolist()),
        certain=certain,
        threshold=threshold,
    )


def to_versions(statistics: Mapping[str, Any]) -> dict[str, int]:
    """Each loaded model's name and newest version."""
    versions: dict[str, int] = {}
    for model in statistics["model_stats"]:
        name, version = model["name"], int(model["version"])
        versions[name] = max(versions.get(name, 0), version)
    return versions


def to_models(versions: Mapping[str, int], configs: Mapping[str, Mapping[str, Any]]) -> list[Model]:
    """The ensembles among the loaded models, by name; all of their configs are given.

    Their last step has the operating point, the one before it the graph.
    """
    models = []
    for name in sorted(versions):
        ensemble = configs[name].get("ensemble_scheduling", {})
        steps = [step["model_name"] for step in ensemble.get("step", [])]
        if len(steps) < 2 or not set(steps) <= set(configs):
            continue
        *_, graph, postprocess = steps
        parameters = configs[postprocess].get("parameters", {})
        settings = {key: value.get("string_value", "") for key, value in parameters.items()}
        confidence: Confidence | None = None
        review = None
        if classes := settings.get("classes"):
            accepted, review = (
                {
                    one: float(settings[key])
                    for one in classes.split(",")
                    if (key := f"{point}_{one}") in settings
                }
                for point in ("confidence", "review")
            )
            confidence = accepted
        elif settings.get("min_confidence"):
            confidence = float(settings["min_confidence"])
        models.append(Model(name, versions[graph], confidence, review or None))
    return models


def _output(reply: Reply, name: str) -> np.ndarray:
    output = reply.as_numpy(name)
    if output is None:
        why = OUTPUTS_SINCE.get(name, "another kind of model was named")
        raise Refused(f"model: its reply has no {name}; {why}")
    return output


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
