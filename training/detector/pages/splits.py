"""Splits of generated pages on disk, in the YOLO layout."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from training.detector.labels import CLASSES, yolo_lines
from training.detector.pages.compose import draw_page


def write_page(index: int, split: str, seed: int, out: Path) -> tuple[str, dict]:
    """Draw and write one page; returns its name and sources."""
    cv2.setNumThreads(1)
    page = draw_page(split, index, seed)
    name = f"{split}_{index:05d}"
    size = (page.pixels.shape[1], page.pixels.shape[0])
    lines = yolo_lines(page.class_ids, page.xyxy, size)
    image = cv2.cvtColor(page.pixels, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(out / "images" / split / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    (out / "labels" / split / f"{name}.txt").write_text(lines)
    return name, {"template": page.template, "writers": page.writers, "stamps": page.stamps}


def write_splits(out: Path, seed: int, counts: dict[str, int]) -> None:
    """Write `counts` pages a split under `out`, on all cores."""
    sources = {}
    clean = get_context("forkserver")  # a plain fork inherits OpenCV's threads, but not running
    clean.set_forkserver_preload(["training.detector.pages.splits"])
    with ProcessPoolExecutor(os.cpu_count(), clean) as workers:
        for split, count in counts.items():
            (out / "images" / split).mkdir(parents=True, exist_ok=True)
            (out / "labels" / split).mkdir(parents=True, exist_ok=True)
            draw = partial(write_page, split=split, seed=seed, out=out)
            pages = workers.map(draw, range(count), chunksize=8)
            sources[split] = dict(tqdm(pages, total=count, desc=split, unit="page"))
    record = {"seed": seed, "splits": sources}
    (out / "sources.json").write_text(json.dumps(record))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (out / "pages.yaml").write_text(
        f"path: {out.resolve()}\ntrain: images/train\nval: images/validation\n"
        f"test: images/test\nnames:\n{names}"
    )
