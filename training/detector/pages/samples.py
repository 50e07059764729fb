"""Sample pages to try the detector on: generated test pages in the formats that users send."""

import json
from pathlib import Path

from PIL import Image

from training.detector import scan
from training.detector.labels import CLASSES
from training.detector.pages.compose import draw_page

CLEAN = scan.Source(
    before=(),
    after=((scan.defocus, 0.5),),
    skew=0.4,
    keystone=0.0,
    square=0.0,
    border=(250, 256),
    shrink=0.0,
)
# File: test page, dots per inch. Picked among pages that the shipped detector gets right.
SAMPLES = {
    "page_150dpi.jpg": (82, 150),
    "page_300dpi.jpg": (40, 300),
    "page_bilevel.tiff": (50, 300),
    "page_grey.png": (103, 150),
}
A4_INCHES = 297 / 25.4  # high


def write(out: Path, seed: int) -> None:
    """Write the sample pages and pages.json, which maps each file to its boxes, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    labels = {}
    for name, (index, dpi) in SAMPLES.items():
        height = round(A4_INCHES * dpi)
        page = draw_page("test", index, seed, height, CLEAN)
        save(Image.fromarray(page.pixels), out / name, dpi)
        labels[name] = {
            "boxes": [
                {"class": CLASSES[class_id], "xyxy": [round(float(edge), 1) for edge in box]}
                for class_id, box in zip(page.class_ids, page.xyxy, strict=True)
            ]
        }
    (out / "pages.json").write_text(json.dumps(labels, indent=2) + "\n")


def save(page: Image.Image, target: Path, dpi: int) -> None:
    """Write an RGB page as its suffix says: colour JPEG, bilevel TIFF (fax group 4), grey PNG."""
    if target.suffix == ".jpg":
        page.save(target, quality=72, dpi=(dpi, dpi))
    elif target.suffix == ".tiff":
        bilevel = page.convert("L").point(lambda grey: 255 * (grey > 160), mode="1")
        bilevel.save(target, compression="group4", dpi=(dpi, dpi))
    else:
        page.convert("L").quantize(16).save(target, optimize=True, dpi=(dpi, dpi))
