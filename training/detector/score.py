"""How well boxes were found: average precision, and precision and recall at an operating point.

Matching is pycocotools': a box is found by the best unmatched detection of its class with an
overlap (IoU) of at least one half; detections on ignored areas count neither way.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.detector.labels import CLASSES, Labelled

MATCH = 0.5  # IoU


@dataclass(frozen=True)
class Found:
    """Detections on one page: boxes (n, 4) xyxy in its pixels, scores (n,), class ids (n,)."""

    xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class ClassScore:
    """One class over a set of pages. Every detection not on an ignored area, best score first."""

    boxes: int  # how many there were to find
    ap50: float  # NaN if there were none
    ap50_95: float
    scores: np.ndarray  # (n,)
    hits: np.ndarray  # (n,) bool

    def at(self, threshold: float) -> dict[str, float | int]:
        """Precision, recall and counts of what scores at least `threshold`."""
        kept = self.scores >= threshold
        hits, alarms = int(self.hits[kept].sum()), int((~self.hits[kept]).sum())
        return {
            "boxes": self.boxes,
            "hits": hits,
            "false_alarms": alarms,
            "precision": hits / max(1, hits + alarms),
            "recall": hits / max(1, self.boxes),
        }

    def operating_point(self, precision: float) -> float:
        """The lowest score from which on the precision is at least `precision`.

        ValueError with the best precision there is, if none reaches it.
        """
        shares = self.hits.cumsum() / np.arange(1, len(self.hits) + 1)
        (enough,) = np.nonzero(shares >= precision)
        if not len(enough):
            best = shares.max(initial=0)
            raise ValueError(f"no score gives a precision of {precision}: the best is {best:.3f}")
        return float(self.scores[enough[-1]])


def score(pages: Sequence[Labelled], found: Sequence[Found]) -> dict[str, ClassScore]:
    """Each class's score over the pages and what was found on them, in the same order."""
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    truth: list[dict] = []
    detections: list[dict] = []
    for image_id, (page, seen) in enumerate(zip(pages, found, strict=True), start=1):
        for class_id, box in zip(page.class_ids, page.xyxy, strict=True):
            truth.append(_annotation(len(truth) + 1, image_id, int(class_id), box, crowd=0))
        for box in page.ignore:  # a crowd in COCO's words, for every class
            for class_id in range(len(CLASSES)):
                truth.append(_annotation(len(truth) + 1, image_id, class_id, box, crowd=1))
        for box, value, class_id in zip(seen.xyxy, seen.scores, seen.class_ids, strict=True):
            detections.append(
                _annotation(len(detections) + 1, image_id, int(class_id), box, crowd=0)
                | {"score": float(value)}
            )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its timings
        labels, results = COCO(), COCO()
        images = [{"id": i + 1} for i in range(len(pages))]
        labels.dataset = {"images": images, "annotations": truth, "categories": categories}
        results.dataset = {"images": images, "annotations": detections, "categories": categories}
        labels.createIndex()
        results.createIndex()
        coco = COCOeval(labels, results, "bbox")
        coco.params.maxDets = [300]
        coco.params.areaRng, coco.params.areaRngLbl = [[0, 1e10]], ["all"]
        coco.evaluate()
        coco.accumulate()
    return {name: _class_score(coco, class_id) for class_id, name in enumerate(CLASSES)}


def _annotation(number: int, image_id: int, class_id: int, box: np.ndarray, crowd: int) -> dict:
    x0, y0, x1, y1 = (float(value) for value in box)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": class_id + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": crowd,
    }


def _class_score(coco: COCOeval, class_id: int) -> ClassScore:
    overlap = int(np.argmin(np.abs(coco.params.iouThrs - MATCH)))
    images = len(coco.params.imgIds)
    seen = [e for e in coco.evalImgs[class_id * images : (class_id + 1) * images] if e is not None]
    boxes = sum(int((np.array(e["gtIgnore"]) == 0).sum()) for e in seen)
    scores = np.concatenate([np.array(e["dtScores"], float) for e in seen] or [np.empty(0)])
    hits = np.concatenate([e["dtMatches"][overlap] > 0 for e in seen] or [np.empty(0, bool)])
    ignored = np.concatenate([e["dtIgnore"][overlap] > 0 for e in seen] or [np.empty(0, bool)])
    order = np.argsort(-scores, kind="stable")
    order = order[~ignored[order]]
    precision = coco.eval["precision"][:, :, class_id, 0, 0]  # (IoU, recall)
    missing = not boxes
    return ClassScore(
        boxes=boxes,
        ap50=float("nan") if missing else float(precision[overlap].mean()),
        ap50_95=float("nan") if missing else float(precision.mean()),
        scores=scores[order],
        hits=hits[order],
    )
