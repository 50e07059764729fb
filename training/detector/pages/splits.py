"""Splits of generated pages on disk."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from training.detector.labels import CLASSES
from training.detector.pages.compose import Page, draw_page


def record(page: Page, split: str) -> dict[str, Any]:
    """A page's entry in labels.json, in whole pixels; its document is the house it comes from."""
    height, width = page.pixels.shape[:2]
    boxes = [
        {"class": CLASSES[class_id], "xyxy": _rounded(xyxy)} | ({"kind": kind} if kind else {})
        for class_id, xyxy, kind in zip(page.class_ids, page.xyxy, page.kinds, strict=True)
    ]
    return {
        "width": width,
        "height": height,
        "document": f"house {page.template}",
        "split": split,
        "labelled": list(CLASSES),
        "boxes": boxes,
        "ignore": [{"xyxy": _rounded(xyxy)} for xyxy in page.ignore],
    }


def _rounded(xyxy: Any) -> list[float]:
    return [round(float(edge), 1) for edge in xyxy]


def write_page(index: int, split: str, seed: int, out: Path) -> tuple[str, dict[str, Any]]:
    """Draw and write one page; returns its name and its entry in labels.json."""
    cv2.setNumThreads(1)
    page = draw_page(split, index, seed)
    name = f"{split}_{index:05d}.jpg"
    image = cv2.cvtColor(page.pixels, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out / "images" / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return name, record(page, split)


def write_splits(out: Path, seed: int, counts: dict[str, int]) -> None:
    """Write `counts` pages a split under `out`, on all cores; labels.json when all are there."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    labels: dict[str, dict] = {}
    clean = get_context("forkserver")  # a plain fork inherits OpenCV's threads, but not running
    clean.set_forkserver_preload(["training.detector.pages.splits"])
    with ProcessPoolExecutor(os.cpu_count(), clean) as workers:
        for split, count in counts.items():
            draw = partial(write_page, split=split, seed=seed, out=out)
            pages = workers.map(draw, range(count), chunksize=8)
            labels |= dict(tqdm(pages, total=count, desc=split, unit="page"))
    (out / "labels.json").write_text(json.dumps(labels))
