"""How well signatures and stamps are found as served, on labelled pages.

    python -m benchmarks.accuracy.detector --pages DIR... --out REPORT [--url HOST:PORT]

asks the running server for every page with the project's client. Each DIR is a kind of pages, with
a labels.json (with areas to ignore), a COCO table, or the YOLO layout; of one that says its splits,
the validation pages count. REPORT gets accuracy.json, every figure with its 95 % interval for each
kind and what it consists of; precision_recall.png; and worst_KIND.jpg, the pages with most that was
missed or falsely found. Precision, recall and false alarms are at the server's accept point, or as
--operating-point or --confidence says.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from benchmarks.machine import command, machine
from countersign import Client, CountersignError, Detections
from countersign.messages import OPERATING_POINTS
from server.readiness import overlap
from training.detector.labels import CLASSES, Labelled
from training.detector.score import ClassScore, Found, read_kinds, score, table, views

matplotlib.use("Agg")
from matplotlib import pyplot

LOWEST_SCORE = 0.001  # low enough for average precision
WORST = 12  # pages on the sheet
TILE = 480  # px, the longer side of a page on the sheet
GREEN, RED, ORANGE, GREY = "#1a9850", "#d73027", "#fc8d59", "#888888"


def operating_point(client: Client, detector: str, point: str = "accept") -> dict[str, float]:
    """The threshold of each class that the server uses at `point`, one of OPERATING_POINTS.

    ValueError if the server has no such detector, or it no such point.
    """
    known = {one.name: one for one in client.models() if isinstance(one.confidence, Mapping)}
    if detector not in known:
        raise ValueError(f"no detector {detector!r}, the server has {', '.join(known)}")
    model = known[detector]
    thresholds = model.confidence if point == "accept" else model.review
    if not isinstance(thresholds, Mapping):
        raise ValueError(f"{detector} has no operating point {point!r}")
    return dict(thresholds)


def as_found(detections: Detections) -> Found:
    """The client's answer in the form that is scored, without classes that no labels have."""
    known = [i for i, label in enumerate(detections.labels) if label in CLASSES]
    class_ids = np.array([CLASSES.index(detections.labels[i]) for i in known], np.int64)
    return Found(detections.boxes[known], detections.scores[known], class_ids)


def ask(
    client: Client,
    detector: str,
    images: Iterable[Path | np.ndarray],
    total: int,
    name: str = "pages",
) -> list[Found]:
    """All that a detector finds on each image, down to LOWEST_SCORE. Raises what it refuses."""
    answers = client.detect_many(images, confidence=LOWEST_SCORE, model=detector)
    found = []
    for answer in tqdm(answers, total=total, desc=name):
        if isinstance(answer, Exception):
            raise answer
        found.append(as_found(answer))
    return found


def summary(scores: dict[str, ClassScore], thresholds: dict[str, float]) -> dict[str, dict]:
    """Per class: AP, and precision, recall and F1 at the operating point."""
    rows = {}
    for name, of_class in scores.items():
        at = of_class.at(thresholds[name])
        both = at["precision"] + at["recall"]
        f1 = 2 * at["precision"] * at["recall"] / both if both else 0.0
        rows[name] = {
            "ap50": of_class.ap50,
            "ap50_95": of_class.ap50_95,
            "threshold": thresholds[name],
            "f1": f1,
            **at,
        }
    return rows


def mistakes(page: Labelled, found: Found, thresholds: dict[str, float]) -> tuple[list, list, list]:
    """What was right, falsely found and missed at the operating point, as (xyxy, class id).

    Of the classes that the page's labels have.
    """
    labelled = np.array([name in page.labelled for name in CLASSES])
    limits = np.array([thresholds.get(name, 1.0) for name in CLASSES])
    sure = (found.scores >= limits[found.class_ids]) & labelled[found.class_ids]
    seen = list(zip(found.xyxy[sure], found.class_ids[sure], strict=True))
    left = [(box, i) for box, i in zip(page.xyxy, page.class_ids, strict=True) if labelled[i]]
    right, false = [], []
    for box, class_id in seen:
        overlaps = [
            overlap(box.tolist(), true.tolist()) * (class_id == true_id) for true, true_id in left
        ]
        if overlaps and max(overlaps) >= 0.5:
            del left[int(np.argmax(overlaps))]
            right.append((box, class_id))
        elif not any(covered(box, area) >= 0.5 for area in page.ignore):
            false.append((box, class_id))
    return right, false, left


def covered(box: np.ndarray, area: np.ndarray) -> float:
    """The share of a box that lies in an area; both xyxy."""
    sides = np.minimum(box[2:], area[2:]) - np.maximum(box[:2], area[:2])
    return float(sides.clip(0).prod() / max((box[2:] - box[:2]).prod(), 1e-9))


def draw_curves(
    scores: Mapping[str, Mapping[str, ClassScore]], thresholds: dict[str, float], target: Path
) -> None:
    """Precision over recall, a panel for each class and a line for each kind of pages, with a dot
    at the operating point.
    """
    figure, panels = pyplot.subplots(1, len(thresholds), figsize=(6 * len(thresholds), 5))
    for axes, (name, threshold) in zip(np.atleast_1d(panels), thresholds.items(), strict=True):
        for kind, of_class in ((kind, of_kind[name]) for kind, of_kind in scores.items()):
            if not of_class.boxes:
                continue
            hits = of_class.hits.cumsum()
            precision = hits / np.arange(1, len(hits) + 1)
            label = f"{kind}: AP50 {of_class.ap50:.3f}, {of_class.boxes} boxes"
            (line,) = axes.plot(hits / of_class.boxes, precision, label=label)
            at = of_class.at(threshold)
            axes.plot(at["recall"], at["precision"], "o", color=line.get_color())
        axes.set(title=name, xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left")
    figure.savefig(target, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def draw_worst(
    pages: Sequence[Labelled], found: Sequence[Found], thresholds: dict[str, float], target: Path
) -> None:
    """The pages with most mistakes: right in green, false red, missed orange, ignored grey."""
    judged = [mistakes(page, seen, thresholds) for page, seen in zip(pages, found, strict=True)]
    order = np.argsort([-len(false) - len(missed) for _, false, missed in judged], kind="stable")
    sheet = Image.new("RGB", (4 * TILE, -(-min(WORST, len(pages)) // 4) * TILE), "white")
    for place, index in enumerate(order[:WORST]):
        page = pages[index]
        with Image.open(page.path) as image:
            tile = image.convert("RGB")
        pen = ImageDraw.Draw(tile)
        width = max(2, max(tile.size) // 250)
        for area in page.ignore:
            pen.rectangle(area.tolist(), outline=GREY, width=width)
        for boxes, colour in zip(judged[index], (GREEN, RED, ORANGE), strict=True):
            for box, class_id in boxes:
                pen.rectangle(box.tolist(), outline=colour, width=width)
                pen.text((float(box[0]), float(box[1])), CLASSES[class_id], colour)
        tile.thumbnail((TILE - 4, TILE - 4))
        sheet.paste(tile, (place % 4 * TILE, place // 4 * TILE))
    sheet.save(target, quality=85)


def text_table(rows: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    """The rows as text: each figure with its interval."""
    names = ("ap50", "precision", "recall", "false_alarms")
    plain = ("ap25", "precision25", "recall25")
    heads = " ".join([*(f"{name:>20}" for name in names), *(f"{name:>11}" for name in plain)])
    lines = [f"{'kind':40} {'class':10} {'pages':>5} {'boxes':>5} {heads}"]
    for kind, row in rows.items():
        for name in classes:
            figures = row[name]
            cells = " ".join(_with_interval(figures, key) for key in names)
            cells += "".join(
                f" {'-' if figures[key] is None else figures[key]:>11}" for key in plain
            )
            lines.append(f"{kind:40} {name:10} {row['pages']:5} {figures['boxes']:5} {cells}")
    return "\n".join(lines)


def _with_interval(figures: Mapping[str, Any], key: str) -> str:
    if figures[key] is None:
        return f"{'-':>20}"
    low, high = figures["intervals"][key]
    digits = 0 if key == "false_alarms" else 3
    return f"{figures[key]:.{digits}f} ({low:.{digits}f} {high:.{digits}f})".rjust(20)


def main() -> None:
    try:
        measure()
    except (ValueError, FileNotFoundError, CountersignError) as error:
        sys.exit(f"benchmarks.accuracy.detector: {error}")


def measure() -> None:
    """What the command line asks for. Raises as `read_kinds`, `operating_point` and `ask`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument(
        "--split", default="validation", help="of folders that say it: train, validation or test"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", default="127.0.0.1:8001", help="host:port of the gRPC endpoint")
    parser.add_argument("--model", default="document_detector", help="which of its detectors")
    at = parser.add_mutually_exclusive_group()
    at.add_argument("--operating-point", choices=OPERATING_POINTS, default="accept")
    at.add_argument("--confidence", type=float, help="of both classes, in place of a point")
    args = parser.parse_args()
    if args.confidence is not None and not 0 <= args.confidence <= 1:
        parser.error(f"--confidence {args.confidence}: limit a number 0 to 1")
    kinds = read_kinds(args.pages, args.split)
    args.out.mkdir(parents=True, exist_ok=True)
    with Client(args.url) as client:
        thresholds = operating_point(client, args.model, args.operating_point)
        found = {
            kind: ask(client, args.model, [page.path for page in pages], len(pages), kind)
            for kind, pages in kinds.items()
        }
    thresholds = {
        name: own if args.confidence is None else args.confidence
        for name, own in thresholds.items()
        if name in CLASSES
    }
    rows = table(kinds, found, thresholds)
    report = {
        "rows": rows,
        "thresholds": thresholds,
        "command": command(),
        "machine": machine(),
    }
    (args.out / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")
    scores = {}
    for kind, pages in kinds.items():
        _, those, seen = next(iter(views(kind, pages, found[kind])))
        scores[kind] = score(those, seen)
        draw_worst(those, seen, thresholds, args.out / f"worst_{kind}.jpg")
    draw_curves(scores, thresholds, args.out / "precision_recall.png")
    print(text_table(rows, list(thresholds)))


if __name__ == "__main__":
    main()
