"""What a detector's graph says -> boxes, by the kind of its head.

grid        predictions (4 + C, A): centre x, centre y, width, height in input pixels, C scores for
            each of A anchors, which overlap: YOLOv8, YOLO11, YOLO12
voted_grid  the same, the anchors about a box agreeing on it: document_lite
end2end     predictions (N, 6): x0, y0, x1, y1 in input pixels, score, class: YOLOv10, YOLO26,
            RT-DETR
queries     predictions (Q, 4 + C): centre x, centre y, width, height in input pixels, C scores for
            each of Q queries, which do not overlap: DETR; query_classes: Conditional DETR

Each function gives xyxy (N, 4) in input pixels, scores (N,) and class_ids (N,), best score first.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np

MAX_CANDIDATES = 1000  # NMS takes their square: all 8400 anchors, asked for by 0, took 0.5 s
LOWEST_VOTE, AGREEING = 0.1, 0.65  # score and IoU from which an anchor has a vote on a box

GRIDS = ("grid", "voted_grid")  # heads whose anchors come last, and need NMS
HEADS = (*GRIDS, "end2end", "queries", "query_classes")

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]  # xyxy, scores, class_ids


class Thresholds(NamedTuple):
    confidence: np.ndarray  # (C,) float32, lowest score per class
    iou: float | None  # overlap above which the weaker of two boxes of a class goes; GRIDS alone
    max_detections: int


def grid(predictions: np.ndarray, limits: Thresholds) -> Boxes:
    """An anchor stands for its best class alone. Greedy NMS within each class, among the best
    MAX_CANDIDATES.
    """
    passed, scores, class_ids = _candidates(predictions[4:], limits.confidence)
    centre, size = predictions[:2, passed].T, predictions[2:4, passed].T
    top_left = centre - size / 2
    assert limits.iou is not None  # a grid has it
    boxes: Any = np.hstack([top_left, size])  # cv2's types know lists alone
    chosen = cv2.dnn.NMSBoxesBatched(boxes, scores, class_ids, -1.0, limits.iou)
    best = np.asarray(chosen, np.intp)[: limits.max_detections]
    xyxy = np.hstack([top_left, top_left + size])
    return xyxy[best], scores[best], class_ids[best]


def voted_grid(predictions: np.ndarray, limits: Thresholds) -> Boxes:
    """`grid`, then each box is the mean of its class's boxes that overlap it by AGREEING or more,
    weighted by score and overlap (box voting, arXiv:1505.01749).

    All anchors from LOWEST_VOTE on have a vote, so that a threshold chooses boxes and moves none.
    """
    xyxy, scores, class_ids = grid(predictions, limits)
    if not len(scores):
        return xyxy, scores, class_ids
    voters, votes, says = _candidates(predictions[4:], np.full_like(limits.confidence, LOWEST_VOTE))
    boxes = _corners(predictions[:4, voters].T)
    weights = _overlaps(xyxy, boxes)
    weights *= (weights >= AGREEING) & (class_ids[:, None] == says)
    weights *= votes
    total = weights.sum(1, keepdims=True)
    heard = total[:, 0] > 0
    xyxy[heard] = (weights @ boxes)[heard] / total[heard]
    return xyxy, scores, class_ids


def end2end(predictions: np.ndarray, limits: Thresholds) -> Boxes:
    """The graph has chosen among its boxes; what is left is the threshold."""
    scores, class_ids = predictions[:, 4], predictions[:, 5].astype(np.intp)
    best = _best(scores, scores >= limits.confidence[class_ids], limits.max_detections)
    return predictions[best, :4], scores[best], class_ids[best]


def queries(predictions: np.ndarray, limits: Thresholds) -> Boxes:
    """A query stands for its best class alone."""
    class_ids = predictions[:, 4:].argmax(1)
    scores = predictions[:, 4:].max(1)
    best = _best(scores, scores >= limits.confidence[class_ids], limits.max_detections)
    return _corners(predictions[best, :4]), scores[best], class_ids[best]


def query_classes(predictions: np.ndarray, limits: Thresholds) -> Boxes:
    """A query stands for each class that it scores high enough."""
    scores = predictions[:, 4:]
    passed = scores >= limits.confidence
    best = _best(scores.ravel(), passed.ravel(), limits.max_detections)
    query, class_ids = np.divmod(best, scores.shape[1])
    return _corners(predictions[query, :4]), scores[query, class_ids], class_ids


def _candidates(class_scores: np.ndarray, lowest: np.ndarray) -> tuple[np.ndarray, Any, Any]:
    """Anchors whose best class has at least its score of `lowest` (C,), of `class_scores` (C, A):
    their places, scores and classes. The best MAX_CANDIDATES, in no order.
    """
    scores = class_scores.max(0)
    (places,) = np.nonzero(scores >= lowest.min())  # few: to ask all for their class takes longer
    class_ids = class_scores[:, places].argmax(0)
    passed = scores[places] >= lowest[class_ids]
    places, class_ids = places[passed], class_ids[passed]
    if len(places) > MAX_CANDIDATES:
        best = np.argpartition(-scores[places], MAX_CANDIDATES)[:MAX_CANDIDATES]
        places, class_ids = places[best], class_ids[best]
    return places, scores[places], class_ids


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) IoU of xyxy (N, 4) and (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    common = (high - low).clip(0).prod(-1)
    areas = [(xyxy[:, 2:] - xyxy[:, :2]).prod(-1) for xyxy in (boxes, others)]
    return common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-6)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) centre x, centre y, width, height -> xyxy."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    return np.hstack([centre - size / 2, centre + size / 2])


def _best(scores: np.ndarray, passed: np.ndarray, most: int) -> np.ndarray:
    """Where the best of the scores (N,) that `passed` stand, at most `most`."""
    (places,) = np.nonzero(passed)
    return places[np.argsort(-scores[places], kind="stable")[:most]]


def to_page(xyxy: np.ndarray, letterbox: np.ndarray, page_size: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy in input pixels -> pixels of the page, cut at its edges."""
    pad, fitted = letterbox[:2], letterbox[2:]
    page = (xyxy.reshape(-1, 2, 2) - pad) * (page_size / fitted)
    return np.clip(page, 0, page_size).reshape(-1, 4).astype(np.float32)
