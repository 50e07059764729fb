"""Sample pages to try the detector on: generated test pages in the formats that users send, of
which the served detector finds every mark and nothing else.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.detector import scan
from training.detector.labels import CLASSES
from training.detector.pages import houses
from training.detector.pages.compose import Page, draw_page, template_of

CLEAN = scan.Source(
    before=(),
    after=((scan.defocus, 0.5),),
    skew=0.4,
    keystone=0.0,
    square=0.0,
    border=(250, 256),
    shrink=0.0,
)
SAMPLES = {  # file: kind of page, dots per inch
    "page_150dpi.jpg": ("contract", 150),
    "page_300dpi.jpg": ("invoice", 300),
    "page_bilevel.tiff": ("letter", 300),
    "page_grey.png": ("deed", 150),
}
TRIES = 200  # pages of a kind
LEAST, MOST = 2, 5  # marks on a sample, of both classes
MATCH = 0.6  # least IoU of a box found
A4_INCHES = 297 / 25.4  # high
Detect = Callable[[bytes], dict[str, Any]]  # an image file -> boxes, labels, as inprocess.Detector


def write(out: Path, seed: int, detect: Detect) -> None:
    """Write the sample pages and pages.json, which maps each file to its boxes, into `out`.

    Each is the first page of its kind that `detect` gets right. ValueError if there is none.
    """
    out.mkdir(parents=True, exist_ok=True)
    labels = {}
    for name, (kind, dpi) in SAMPLES.items():
        page, content = _first(name, kind, dpi, seed, detect)
        (out / name).write_bytes(content)
        labels[name] = {
            "boxes": [
                {"class": CLASSES[class_id], "xyxy": [round(float(edge), 1) for edge in box]}
                for class_id, box in zip(page.class_ids, page.xyxy, strict=True)
            ]
        }
    (out / "pages.json").write_text(json.dumps(labels, indent=2) + "\n")


def _first(name: str, kind: str, dpi: int, seed: int, detect: Detect) -> tuple[Page, bytes]:
    """The first fitting page, and its file."""
    indices = (i for i in range(100 * TRIES) if houses.kind(template_of("test", i, seed)) == kind)
    for index, _ in zip(indices, range(TRIES), strict=False):
        page = draw_page("test", index, seed, round(A4_INCHES * dpi), CLEAN)
        both = set(page.class_ids) == set(range(len(CLASSES)))
        if both and LEAST <= len(page.xyxy) <= MOST and not len(page.ignore):
            content = encode(Image.fromarray(page.pixels), Path(name).suffix, dpi)
            if right(page, detect(content)):
                return page, content
    raise ValueError(f"{name}: of {TRIES} pages ({kind}) the detector gets none right")


def right(page: Page, found: dict[str, Any]) -> bool:
    """Whether each mark is found once, in its class, and nothing else."""
    names = [label.decode() if isinstance(label, bytes) else label for label in found["labels"]]
    boxes, marks = np.array(found["boxes"], np.float32).reshape(-1, 1, 4), page.xyxy
    sides = np.minimum(boxes[..., 2:], marks[:, 2:]) - np.maximum(boxes[..., :2], marks[:, :2])
    both = sides.clip(0).prod(axis=2)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (boxes, marks)]
    alike = np.array(names)[:, None] == np.array(CLASSES)[page.class_ids]
    hits = alike & (both >= MATCH * (areas[0] + areas[1] - both))
    return bool((hits.sum(axis=0) == 1).all() and (hits.sum(axis=1) == 1).all())


def encode(page: Image.Image, suffix: str, dpi: int) -> bytes:
    """An RGB page as its suffix says: colour JPEG, bilevel TIFF (fax group 4), grey PNG."""
    file = io.BytesIO()
    if suffix == ".jpg":
        page.save(file, "JPEG", quality=72, dpi=(dpi, dpi))
    elif suffix == ".tiff":
        bilevel = page.convert("L").point(lambda grey: 255 * (grey > 200), mode="1")
        bilevel.save(file, "TIFF", compression="group4", dpi=(dpi, dpi))
    else:
        page.convert("L").quantize(16).save(file, "PNG", optimize=True, dpi=(dpi, dpi))
    return file.getvalue()
