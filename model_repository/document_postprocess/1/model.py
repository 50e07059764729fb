"""document_postprocess: detector output -> boxes on the page that was sent.

predictions  FP32 [1, ...]       in the form of the detector's head, as heads.py says
letterbox    FP32 [4]            pad_x, pad_y, width, height of the page in the input
page_size    INT32 [2]           width, height of the page that was sent
page_count   INT32 [1]           pages in its file
boxes        FP32 [N, 4]         x0, y0, x1, y1 in pixels of that page, best score first
scores       FP32 [N]
labels       STRING [N]
page_size    INT32 [2]           these two as they came: Triton 24.10 fails a request for outputs
page_count   INT32 [1]           of an ensemble's earlier step alone, so the last gives them all

Request parameters: operating_point (accept, or the lower review), confidence (all classes) and
confidence_<class>, which beat it, max_detections, and iou where the head is a grid; `page` is
document_preprocess's. Those left out come from config.pbtxt, which export fills from the model
card: accept is confidence_<class> there, review is review_<class>. Each detector has such a step,
with settings of its own and this same code.
"""

import json

import heads
import numpy as np
import triton_python_backend_utils as pb_utils
from heads import GRIDS, HEADS, Thresholds, to_page
from tally import Tally

POINTS = {"accept": "confidence", "review": "review"}  # what begins their names in config.pbtxt
SAMPLE_ID = "countersign-sample"  # of what server/readiness.py asks, which is no page of a user's


def operating_points(parameters: dict[str, str], classes: list[str]) -> dict[str, Thresholds]:
    """The thresholds in config.pbtxt by the name of their point; review only where it is there.

    Raises ValueError for one that is missing or no number in (0, 1], and for an overlap or a number
    of boxes that is none.
    """
    iou = None
    if parameters["head"] in GRIDS:
        iou = _fraction("iou", _number("iou", parameters.get("iou")))
    most = parameters.get("max_detections", "")
    if not most.isdigit() or int(most) < 1:
        raise ValueError(f"parameter max_detections: {most!r}, limit a whole number from 1")
    points = {}
    for point, begin in POINTS.items():
        names = [f"{begin}_{name}" for name in classes]
        if point == "review" and not any(name in parameters for name in names):
            continue
        lowest = [_fraction(name, _number(name, parameters.get(name))) for name in names]
        for name, value in zip(names, lowest, strict=True):
            if value == 0:  # every anchor would be answered
                raise ValueError(f"parameter {name}: {parameters[name]!r}, limit over 0")
        points[point] = Thresholds(np.array(lowest, np.float32), iou, int(most))
    return points


def thresholds(
    sent: dict, classes: list[str], points: dict[str, Thresholds], rows: int
) -> Thresholds:
    """Those of the operating point, with the request's parameters put over them.

    Raises ValueError for an unknown parameter or point, a confidence or iou that is no number in
    [0, 1], a max_detections that is no whole number in [1, rows].
    """
    point = sent.get("operating_point", "accept")
    if point not in points:
        raise ValueError(f"parameter operating_point: {point!r}, known are {', '.join(points)}")
    defaults = points[point]
    known = ["confidence", *(f"confidence_{name}" for name in classes)]
    known += ["operating_point", "max_detections", "page"]
    if defaults.iou is not None:
        known.append("iou")
    for name in sent:
        if name not in known:
            raise ValueError(f"parameter {name}: unknown, known are {', '.join(known)}")
    confidence = defaults.confidence.copy()
    if "confidence" in sent:
        confidence[:] = _fraction("confidence", sent["confidence"])
    for class_id, name in enumerate(classes):
        if (key := f"confidence_{name}") in sent:
            confidence[class_id] = _fraction(key, sent[key])
    iou = _fraction("iou", sent["iou"]) if "iou" in sent else defaults.iou
    most = sent.get("max_detections", defaults.max_detections)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= rows:
        raise ValueError(f"parameter max_detections: {most!r}, limit a whole number 1 to {rows}")
    return Thresholds(confidence, iou, most)


def _number(name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise ValueError(f"parameter {name}: {text!r}, a number is needed") from error


def _fraction(name: str, value) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # also refuses NaN
        raise ValueError(f"parameter {name}: {value!r}, limit a number 0 to 1")
    return float(value)


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        if parameters["head"] not in HEADS:
            raise pb_utils.TritonModelException(
                f"parameter head: {parameters['head']!r}, known are {', '.join(HEADS)}"
            )
        self.detect = getattr(heads, parameters["head"])
        self.anchors_last = parameters["head"] in GRIDS
        self.classes = parameters["classes"].split(",")
        self.labels = np.array(self.classes, np.object_)
        try:
            self.points = operating_points(parameters, self.classes)
        except ValueError as error:
            raise pb_utils.TritonModelException(f"config.pbtxt: {error}") from error
        self.tally = Tally(args["model_name"], self.classes)

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response: five tensors, or INVALID_ARGUMENT with the reason."""
        predictions, letterbox, page_size, page_count = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("predictions", "letterbox", "page_size", "page_count")
        )
        sent = json.loads(request.parameters() or "{}")
        rows = predictions.shape[2 if self.anchors_last else 1]
        try:
            limits = thresholds(sent, self.classes, self.points, rows)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse([], refusal)
        xyxy, scores, class_ids = self.detect(predictions[0], limits)
        if request.request_id() != SAMPLE_ID:
            self.tally.add(scores, class_ids)
        self.tally.tell_if_due()
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("boxes", to_page(xyxy, letterbox, page_size)),
                pb_utils.Tensor("scores", scores),
                pb_utils.Tensor("labels", self.labels[class_ids]),
                pb_utils.Tensor("page_size", page_size),
                pb_utils.Tensor("page_count", page_count),
            ]
        )
