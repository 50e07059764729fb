"""Boxes of the classes that a training page's labels lack, by a teacher and by hand.

    python -m training.detector.teach ask RUN/last.pt --pages DIR... --out LOOK
    python -m training.detector.teach looked LOOK

`ask` takes what the teacher, a checkpoint, is sure of for boxes. A page on which nothing is left in
doubt is complete. The others go to LOOK, drawn as pictures, with doubtful.json, which maps the
SHA-256 of each file to all that the teacher found on it. There, one deletes boxes that are no marks
and adds those that are missing; then `looked` takes what is left, by hand.

Both add to completed.json beside this file, which labels.complete reads: boxes alone, by SHA-256.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from tqdm import tqdm
from ultralytics.nn.tasks import load_checkpoint

from inprocess.steps import fit as fits
from inprocess.steps import heads
from training.detector.labels import (
    CLASSES,
    COMPLETED,
    Labelled,
    complete,
    digest,
    training_pages,
)
from training.detector.score import Found

SURE = 0.7  # score of what becomes a box unseen
DOUBT = 0.15  # score of what is looked at
IOU = 0.5  # overlap above which the weaker of two boxes of a class goes
LOOKED = "doubtful.json"

Ask = Callable[[Labelled], Found]


def teacher(checkpoint: Path) -> Ask:
    """What a checkpoint of these classes with a YOLO's head finds on a page, from DOUBT up."""
    model: Any = load_checkpoint(checkpoint)[0].float().eval()
    if tuple(model.names.values()) != CLASSES:
        raise ValueError(f"{checkpoint}: classes {', '.join(model.names.values())}, not {CLASSES}")
    size = model.args["imgsz"]
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    fit = fits.Fit(width, height, model.args.get("fit", "letterbox"))
    head = heads.end2end if model.model[-1].end2end else heads.grid
    limits = heads.Thresholds(np.full(len(CLASSES), DOUBT, np.float32), IOU, 300)

    @torch.no_grad()
    def ask(page: Labelled) -> Found:
        image = cv2.cvtColor(cv2.imread(str(page.path)), cv2.COLOR_BGR2RGB)
        box = fits.letterbox(*page.size, fit)
        pixels = torch.from_numpy(fits.to_pixels(image, box, fit)).permute(0, 3, 1, 2)
        xyxy, scores, class_ids = head(model(pixels.float() / 255)[0][0].numpy(), limits)
        return Found(heads.to_page(xyxy, np.array(box), np.array(page.size)), scores, class_ids)

    return ask


def lacking(page: Labelled, found: Found) -> list[dict[str, Any]]:
    """Detections of classes that the page's labels lack, as entries of a table."""
    return [
        {
            "class": CLASSES[class_id],
            "xyxy": [round(float(edge), 1) for edge in xyxy],
            "score": round(float(score), 3),
        }
        for xyxy, score, class_id in zip(found.xyxy, found.scores, found.class_ids, strict=True)
        if CLASSES[class_id] not in page.labelled
    ]


def asked(
    pages: Sequence[Labelled], ask: Ask
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Entries of completed.json, and of doubtful.json, for pages whose labels lack a class."""
    sure, doubtful = {}, {}
    for page in tqdm([page for page in pages if page.labelled < set(CLASSES)], unit="page"):
        boxes = lacking(page, ask(page))
        wanted = sorted(set(CLASSES) - page.labelled)
        if all(box["score"] >= SURE for box in boxes):
            sure[digest(page.path)] = {"boxes": by("teacher", boxes), "labelled": wanted}
        else:
            entry = {"file": str(page.path), "boxes": boxes, "labelled": wanted}
            doubtful[digest(page.path)] = entry
    return sure, doubtful


def by(whom: str, boxes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Boxes as completed.json has them."""
    return [{"class": box["class"], "xyxy": box["xyxy"], "by": whom} for box in boxes]


def looked_at(doubtful: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Entries of completed.json for what somebody left in doubtful.json.

    ValueError names a box that is none.
    """
    for entry in doubtful.values():
        for box in entry["boxes"]:
            x0, y0, x1, y1 = box["xyxy"]
            if box["class"] not in entry["labelled"] or not (x0 < x1 and y0 < y1):
                raise ValueError(f"{entry['file']}: {box} is no box of {entry['labelled']}")
    return {
        name: {"boxes": by("hand", entry["boxes"]), "labelled": entry["labelled"]}
        for name, entry in doubtful.items()
    }


def add(entries: dict[str, dict[str, Any]], table: Path) -> None:
    """Puts entries into completed.json, in the place of those of the same files."""
    there = json.loads(table.read_text()) if table.exists() else {}
    table.write_text(json.dumps(there | entries, indent=1, sort_keys=True) + "\n")


def draw(entry: dict[str, Any], target: Path) -> None:
    """The page with its detections, to be looked at; never to be kept in a repository."""
    with Image.open(entry["file"]) as image:
        page = ImageOps.exif_transpose(image).convert("RGB")
    pen = ImageDraw.Draw(page)
    for number, box in enumerate(entry["boxes"]):
        colour = "#1a9850" if box["score"] >= SURE else "#d73027"
        pen.rectangle(box["xyxy"], outline=colour, width=max(2, max(page.size) // 400))
        pen.text(box["xyxy"][:2], f"{number} {box['class']} {box['score']}", colour)
    page.thumbnail((1600, 1600))
    page.save(target, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("checkpoint", type=Path)
    asking.add_argument("--pages", type=Path, nargs="+", required=True, metavar="DIR")
    asking.add_argument("--out", type=Path, required=True, help="folder of what is to be looked at")
    looking = commands.add_parser("looked")
    looking.add_argument("out", type=Path, metavar="LOOK")
    for command in (asking, looking):
        command.add_argument("--table", type=Path, default=COMPLETED)
    given = parser.parse_args()
    try:
        if given.command == "looked":
            added = looked_at(json.loads((given.out / LOOKED).read_text()))
        else:
            training = [page for folder in given.pages for page in training_pages(folder)[0]]
            added, doubtful = asked(complete(training, given.table), teacher(given.checkpoint))
            given.out.mkdir(parents=True, exist_ok=True)
            for name, entry in doubtful.items():
                draw(entry, given.out / f"{name[:16]}.jpg")
            (given.out / LOOKED).write_text(json.dumps(doubtful, indent=1) + "\n")
            print(f"{len(doubtful)} pages to look at in {given.out}")
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.teach: {error}\n")
    add(added, given.table)
    boxes = sum(len(entry["boxes"]) for entry in added.values())
    print(f"{len(added)} pages completed with {boxes} boxes")


if __name__ == "__main__":
    main()
