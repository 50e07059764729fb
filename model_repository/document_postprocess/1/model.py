"""document_postprocess: detector output -> boxes on the page that was sent.

predictions  FP32 [1, 4 + C, A]  centre x, centre y, width, height in input pixels, C scores
letterbox    FP32 [4]            pad_x, pad_y, width, height of the page in the input
page_size    INT32 [2]           width, height of the page that was sent
boxes        FP32 [N, 4]         x0, y0, x1, y1 in pixels of that page, best score first
scores       FP32 [N]
labels       STRING [N]
page_size    INT32 [2]           as it came: Triton 24.10 fails a request for outputs of an
                                 ensemble's earlier step alone, so the last step gives them all

Request parameters: confidence (all classes), confidence_<class>, iou, max_detections. Those left
out come from config.pbtxt, which export fills from the model card.
"""

import json
from typing import NamedTuple

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

MAX_CANDIDATES = 1000  # NMS takes their square: all 8400 anchors, asked for by 0, took 0.5 s


class Thresholds(NamedTuple):
    confidence: np.ndarray  # (C,) float32, lowest score per class
    iou: float  # overlap above which the weaker of two boxes of a class goes
    max_detections: int


def thresholds(sent: dict, classes: list[str], defaults: Thresholds, anchors: int) -> Thresholds:
    """`defaults` with the request's parameters put over them.

    Raises ValueError for an unknown parameter, a confidence or iou that is no number in [0, 1],
    a max_detections that is no whole number in [1, anchors].
    """
    known = ["confidence", *(f"confidence_{name}" for name in classes), "iou", "max_detections"]
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
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= anchors:
        raise ValueError(f"parameter max_detections: {most!r}, limit a whole number 1 to {anchors}")
    return Thresholds(confidence, iou, most)


def _fraction(name: str, value) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:  # also refuses NaN
        raise ValueError(f"parameter {name}: {value!r}, limit a number 0 to 1")
    return float(value)


def detect(
    predictions: np.ndarray, limits: Thresholds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4 + C, A) predictions -> xyxy (N, 4) in input pixels, scores (N,), class_ids (N,).

    An anchor stands for its best class alone. Greedy NMS within each class, among the best
    MAX_CANDIDATES; best score first.
    """
    class_scores = predictions[4:]
    class_ids = class_scores.argmax(0)
    scores = class_scores.max(0)
    (kept,) = np.nonzero(scores >= limits.confidence[class_ids])
    if len(kept) > MAX_CANDIDATES:
        kept = kept[np.argpartition(-scores[kept], MAX_CANDIDATES)[:MAX_CANDIDATES]]
    centre, size = predictions[:2, kept].T, predictions[2:4, kept].T
    top_left = centre - size / 2
    scores, class_ids = scores[kept], class_ids[kept]
    best = cv2.dnn.NMSBoxesBatched(np.hstack([top_left, size]), scores, class_ids, -1.0, limits.iou)
    best = np.asarray(best, np.intp)[: limits.max_detections]
    xyxy = np.hstack([top_left, top_left + size])
    return xyxy[best], scores[best], class_ids[best]


def to_page(xyxy: np.ndarray, letterbox: np.ndarray, page_size: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy in input pixels -> pixels of the page, cut at its edges."""
    pad, fitted = letterbox[:2], letterbox[2:]
    page = (xyxy.reshape(-1, 2, 2) - pad) * (page_size / fitted)
    return np.clip(page, 0, page_size).reshape(-1, 4).astype(np.float32)


class TritonPythonModel:
    def initialize(self, args):
        parameters = {
            name: value["string_value"]
            for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.classes = parameters["classes"].split(",")
        self.labels = np.array(self.classes, np.object_)
        self.defaults = Thresholds(
            np.array([parameters[f"confidence_{name}"] for name in self.classes], np.float32),
            float(parameters["iou"]),
            int(parameters["max_detections"]),
        )

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response: four tensors, or INVALID_ARGUMENT with the reason."""
        predictions, letterbox, page_size = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("predictions", "letterbox", "page_size")
        )
        sent = json.loads(request.parameters() or "{}")
        try:
            limits = thresholds(sent, self.classes, self.defaults, predictions.shape[2])
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse([], refusal)
        xyxy, scores, class_ids = detect(predictions[0], limits)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("boxes", to_page(xyxy, letterbox, page_size)),
                pb_utils.Tensor("scores", scores),
                pb_utils.Tensor("labels", self.labels[class_ids]),
                pb_utils.Tensor("page_size", page_size),
            ]
        )
