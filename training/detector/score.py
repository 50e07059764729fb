"""How well boxes were found: average precision, and precision and recall at a threshold.

Matching is pycocotools': a box is found by the best unmatched detection of its class with an
overlap (IoU) of at least one half; detections on ignored areas count neither way. Figures whose
names end in 25 are at an overlap of a quarter: labels differ about a mark's extent, and these tell
how many marks were found, however well. A page whose labels lack a class counts for the others
alone. Intervals are of 95 %, by a bootstrap over documents, whose pages are no independent draws.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.detector.labels import CLASSES, NOT_INK, Labelled, read_pages

MATCH, LOOSE = 0.5, 0.25  # IoU
ROUNDS = 1000  # of the bootstrap
INTERVAL = (2.5, 97.5)  # its percentiles
ALL = "all"  # kinds together
RECALLS = np.linspace(0, 1, 101)  # where COCO reads the precision


Kinds = Mapping[str, Sequence[Labelled]]  # pages by their kind


@dataclass(frozen=True)
class Found:
    """Detections on one page: boxes (n, 4) xyxy in its pixels, scores (n,), class ids (n,)."""

    xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class ClassScore:
    """One class over a set of pages. Every detection not on an ignored area, best score first."""

    ap50: float  # NaN if there were no boxes
    ap50_95: float
    scores: np.ndarray  # (n,)
    hits: np.ndarray  # (n,) bool
    documents: np.ndarray  # (n,) int, the document that each is on
    boxes_of: np.ndarray  # (D,) int, boxes to find in each document

    @property
    def boxes(self) -> int:
        """How many there were to find."""
        return int(self.boxes_of.sum())

    def at(self, threshold: float) -> dict[str, float | int]:
        """Precision, recall and counts of what scores at least `threshold`."""
        passed = self.scores >= threshold
        hits, alarms = int(self.hits[passed].sum()), int((~self.hits[passed]).sum())
        return {
            "boxes": self.boxes,
            "hits": hits,
            "false_alarms": alarms,
            "precision": hits / max(1, hits + alarms),
            "recall": hits / max(1, self.boxes),
        }

    def resampled(self, threshold: float, drawn: np.ndarray) -> dict[str, np.ndarray]:
        """ap50, precision, recall and false alarms, (R,) each, with documents counted as often as
        drawn (R, D).

        NaN where nothing is left to divide by.
        """
        passed = self.scores >= threshold
        hits_of = np.bincount(self.documents[passed & self.hits], minlength=len(self.boxes_of))
        seen_of = np.bincount(self.documents[passed], minlength=len(self.boxes_of))
        hits, seen, boxes = (drawn @ counts for counts in (hits_of, seen_of, self.boxes_of))
        with np.errstate(invalid="ignore"):
            return {
                "ap50": np.array(
                    [
                        average_precision(self.hits, counts[self.documents], all_boxes)
                        for counts, all_boxes in zip(drawn, boxes, strict=True)
                    ]
                ),
                "precision": hits / seen,
                "recall": hits / boxes,
                "false_alarms": seen - hits,
            }

    def intervals(self, threshold: float) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of ap50, and of what `at` counts at `threshold`."""
        drawn = draws(len(self.boxes_of))
        return {
            name: tuple(np.nanpercentile(values, INTERVAL))
            if np.isfinite(values).any()
            else (float("nan"),) * 2
            for name, values in self.resampled(threshold, drawn).items()
        }


def average_precision(hits: np.ndarray, weights: np.ndarray, boxes: float) -> float:
    """COCO's at one overlap, of detections best score first, each counted `weights` times."""
    if not boxes:
        return float("nan")
    found, seen = (weights * hits).cumsum(), weights.cumsum()
    precision = found / np.maximum(seen, 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(found / boxes, RECALLS, side="left")
    return float(np.append(best_from_here, 0.0)[places].mean())


def draws(documents: int, seed: int = 0) -> np.ndarray:
    """How often each document is drawn in each round of a bootstrap, (ROUNDS, documents) int."""
    shares = np.full(documents, 1 / max(1, documents))
    return np.random.default_rng(seed).multinomial(documents, shares, ROUNDS)


def read_kinds(folders: Sequence[Path], split: str) -> dict[str, list[Labelled]]:
    """The pages of each folder that are of a split, by the folder's name.

    All pages of a folder that says no split. Raises as `read_pages`; ValueError if two folders have
    one name.
    """
    kinds: dict[str, list[Labelled]] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in kinds:
            raise ValueError(f"{folder}: a second folder of the name {name!r}")
        kinds[name] = read_pages(folder)
        if any(page.split for page in kinds[name]):
            kinds[name] = read_pages(folder, split)
    return kinds


def ink_only(page: Labelled) -> Labelled:
    """The page with its boxes of NOT_INK as areas to ignore."""
    printed = np.array([kind in NOT_INK for kind in page.kinds], bool)
    if not printed.any():
        return page
    return replace(
        page,
        class_ids=page.class_ids[~printed],
        xyxy=page.xyxy[~printed],
        ignore=np.concatenate([page.ignore, page.xyxy[printed]]),
        kinds=tuple(kind for kind in page.kinds if kind not in NOT_INK),
    )


def views(
    kind: str, pages: Sequence[Labelled], found: Sequence[Found]
) -> Iterator[tuple[str, list[Labelled], list[Found]]]:
    """A kind's pages as they are scored: name, pages, and what was found on them.

    First its pages without close-ups, the seals that are not ink ignored; then what differs from
    that: each of its groups, with the seals, with the close-ups.
    """
    both = list(zip(pages, found, strict=True))
    full = [(page, seen) for page, seen in both if not page.closeup]
    rows = {kind: [(ink_only(page), seen) for page, seen in full]}
    groups = sorted({page.group for page in pages} - {""})
    for group in groups if len(groups) > 1 else []:
        rows[f"{kind}, {group}"] = [(ink_only(p), seen) for p, seen in full if p.group == group]
    if any(kind in NOT_INK for page in pages for kind in page.kinds):
        rows[f"{kind}, seals that are not ink too"] = full
    if len(full) < len(both):
        rows[f"{kind}, close-ups too"] = [(ink_only(page), seen) for page, seen in both]
    for name, row in rows.items():
        yield name, [page for page, _ in row], [seen for _, seen in row]


def table(
    kinds: Kinds, found: Mapping[str, Sequence[Found]], thresholds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """A row for each of the `views` of each kind, and one for all kinds together: how many pages
    and documents, and the figures of each class at its threshold.
    """
    rows = {}
    together: list[tuple[Labelled, Found]] = []
    for kind, pages in kinds.items():
        for name, those, seen in views(kind, pages, found[kind]):
            rows[name] = _row(those, seen, thresholds)
            if name == kind:
                together += zip(those, seen, strict=True)
    if len(kinds) > 1:
        rows[ALL] = _row([p for p, _ in together], [seen for _, seen in together], thresholds)
    return rows


def _row(
    pages: Sequence[Labelled], found: Sequence[Found], thresholds: Mapping[str, float]
) -> dict[str, Any]:
    scores, loose = (score(pages, found, overlap) for overlap in (MATCH, LOOSE))
    return {
        "pages": len(pages),
        "documents": len({page.source for page in pages}),
        **{
            name: figures(scores[name], at) | loosely(loose[name], at)
            for name, at in thresholds.items()
            if name in scores
        },
    }


def figures(of_class: ClassScore, threshold: float) -> dict[str, Any]:
    """What is told of a class: counts, AP, and the rest at `threshold`, with 95 % intervals.

    None stands for what cannot be measured, as a recall without boxes.
    """
    values = of_class.at(threshold) | {"ap50": of_class.ap50, "ap50_95": of_class.ap50_95}
    seen = values["hits"] + values["false_alarms"]
    unknown = {"precision"} if not seen else set()
    unknown |= {"recall", "ap50", "ap50_95"} if not of_class.boxes else set()
    ends = of_class.intervals(threshold)
    return {
        name: None if name in unknown else round(value, 4) for name, value in values.items()
    } | {
        "intervals": {
            name: [round(end, 4) for end in ends[name]] for name in ends if name not in unknown
        }
    }


def loosely(of_class: ClassScore, threshold: float) -> dict[str, Any]:
    """AP, precision and recall of a class that was scored at LOOSE, their names ending in 25."""
    ap = average_precision(of_class.hits, np.ones(len(of_class.hits)), of_class.boxes)
    at = of_class.at(threshold)
    seen = at["hits"] + at["false_alarms"]
    return {
        "ap25": round(ap, 4) if of_class.boxes else None,
        "precision25": round(at["precision"], 4) if seen else None,
        "recall25": round(at["recall"], 4) if of_class.boxes else None,
    }


def score(
    pages: Sequence[Labelled], found: Sequence[Found], overlap: float = MATCH
) -> dict[str, ClassScore]:
    """Each class's score over the pages and what was found on them, in the same order.

    `overlap` is what makes a hit; AP50 and AP50-95 are at their own.
    """
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    truth: list[dict] = []
    detections: list[dict] = []
    for image_id, (page, seen) in enumerate(zip(pages, found, strict=True), start=1):
        labelled = np.array([name in page.labelled for name in CLASSES])
        for class_id, box in zip(page.class_ids, page.xyxy, strict=True):
            if labelled[class_id]:
                truth.append(_annotation(len(truth) + 1, image_id, int(class_id), box, crowd=0))
        for box in page.ignore:  # a crowd in COCO's words, for every class
            for class_id in range(len(CLASSES)):
                truth.append(_annotation(len(truth) + 1, image_id, class_id, box, crowd=1))
        counts = labelled[seen.class_ids]
        for box, value, class_id in zip(
            seen.xyxy[counts], seen.scores[counts], seen.class_ids[counts], strict=True
        ):
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
        coco.params.iouThrs = np.append(overlap, coco.params.iouThrs)
        coco.params.maxDets = [300]
        coco.params.areaRng, coco.params.areaRngLbl = [[0, 1e10]], ["all"]
        coco.evaluate()
        coco.accumulate()
    numbers = {source: i for i, source in enumerate(dict.fromkeys(p.source for p in pages))}
    document_of = np.array([numbers[page.source] for page in pages], np.int64)
    return {
        name: _class_score(coco, class_id, document_of) for class_id, name in enumerate(CLASSES)
    }


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


def _class_score(coco: COCOeval, class_id: int, document_of: np.ndarray) -> ClassScore:
    images = len(coco.params.imgIds)
    seen = [e for e in coco.evalImgs[class_id * images : (class_id + 1) * images] if e is not None]
    boxes_of = np.zeros(document_of.max(initial=-1) + 1, np.int64)
    for e in seen:
        boxes_of[document_of[e["image_id"] - 1]] += int((np.array(e["gtIgnore"]) == 0).sum())
    documents = [document_of[[e["image_id"] - 1] * len(e["dtScores"])] for e in seen]
    scores = np.concatenate([np.array(e["dtScores"], float) for e in seen] or [np.empty(0)])
    hits = np.concatenate([e["dtMatches"][0] > 0 for e in seen] or [np.empty(0, bool)])
    ignored = np.concatenate([e["dtIgnore"][0] > 0 for e in seen] or [np.empty(0, bool)])
    order = np.argsort(-scores, kind="stable")
    order = order[~ignored[order]]
    precision = coco.eval["precision"][1:, :, class_id, 0, 0]  # (IoU from 0.5 on, recall)
    missing = not boxes_of.any()
    return ClassScore(
        ap50=float("nan") if missing else float(precision[0].mean()),
        ap50_95=float("nan") if missing else float(precision.mean()),
        scores=scores[order],
        hits=hits[order],
        documents=np.concatenate([*documents, np.empty(0, np.int64)])[order],
        boxes_of=boxes_of,
    )
