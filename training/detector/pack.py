"""Labelled pages small enough to be carried to another machine and trained on there.

    python -m training.detector.pack --real DIR ... --out PACK --mebibytes 44

PACK gets a folder for each DIR, with its pages of all splits but test at the size of the input, as
WebP, and their labels.json. The quality is the highest at which all of it fits.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from inprocess.steps import fit as fits
from training.detector.labels import CLASSES, Labelled, complete, training_pages
from training.detector.train import Recipe

QUALITIES = (90, 80, 70, 60, 50, 40, 30, 20)  # of WebP, the best first
SAMPLE = 60  # pages by which the size of all is reckoned
MARGIN = 0.95  # of the limit, for what the sample does not show


def encoded(page: Labelled, fit: Any, quality: int) -> tuple[bytes, tuple[int, int]]:
    """A page shrunk into the input's size, as a WebP file; and its width and height.

    ValueError if the file does not decode.
    """
    pixels = cv2.imread(str(page.path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{page.path}: no image")
    height, width = pixels.shape[:2]
    _, _, fitted_width, fitted_height = fits.letterbox(width, height, fit)
    size = (min(width, fitted_width), min(height, fitted_height))
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes(), size


def record(page: Labelled, size: tuple[int, int]) -> dict[str, Any]:
    """A page's entry in labels.json at another size."""
    across, down = size[0] / page.size[0], size[1] / page.size[1]

    def scaled(box: Sequence[float]) -> list[float]:
        return [round(float(v) * s, 2) for v, s in zip(box, (across, down) * 2, strict=True)]

    kinds = page.kinds or ("",) * len(page.class_ids)
    return {
        "width": size[0],
        "height": size[1],
        "document": page.source,
        "split": page.split or "train",
        "labelled": sorted(page.labelled),
        "boxes": [
            {"class": CLASSES[class_id], "xyxy": scaled(box), "kind": kind}
            for class_id, box, kind in zip(page.class_ids, page.xyxy, kinds, strict=True)
        ],
        "ignore": [{"xyxy": scaled(box)} for box in page.ignore],
        "group": page.group,
        "view": "closeup" if page.closeup else "",
    }


def best_quality(pages: Sequence[Labelled], fit: Any, limit: int) -> int:
    """The highest of QUALITIES at which all pages have at most `limit` bytes, by a sample.

    ValueError if there is none.
    """
    some = pages[:: max(1, len(pages) // SAMPLE)]
    total = 0.0
    for quality in QUALITIES:
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(partial(encoded, fit=fit, quality=quality), some))
        total = sum(len(file) for file, _ in files) / len(some) * len(pages)
        if total <= MARGIN * limit:
            return quality
    raise ValueError(
        f"{len(pages)} pages have {total:.0f} bytes at quality {quality}, limit {limit}"
    )


def pack(folders: Sequence[Path], out: Path, fit: Any, limit: int) -> int:
    """Write the pages of all folders into `out`; returns the bytes of all files there.

    Raises as `labels.training_pages` and `best_quality`.
    """
    pages = {}
    for folder in folders:
        training, held = training_pages(folder)
        pages[folder.name] = [*training, *held]
    quality = best_quality([page for some in pages.values() for page in some], fit, limit)
    for name, some in pages.items():
        (out / name / "images").mkdir(parents=True, exist_ok=True)
        some = complete(some)
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(partial(encoded, fit=fit, quality=quality), some))
        labels = {}
        for number, (page, (file, size)) in enumerate(zip(some, files, strict=True)):
            target = f"{number:05d}.webp"
            (out / name / "images" / target).write_bytes(file)
            labels[target] = record(page, size)
        (out / name / "labels.json").write_text(json.dumps(labels))
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mebibytes", type=float, default=44.0, help="all pages together")
    options = parser.parse_args()
    fit = fits.Fit(Recipe.width, Recipe.height, Recipe.fit)
    try:
        size = pack(options.real, options.out, fit, int(options.mebibytes * 2**20))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.pack: {error}\n")
    print(f"{options.out}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
