"""Real pages for training: a holdout by source, and copies with more ink on them."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from training.detector import scan
from training.detector.labels import CLASSES, Labelled, yolo_lines
from training.detector.pages import designs, handwriting, lookalikes, stamps
from training.detector.pages.compose import POOLS
from training.detector.pages.sheet import press

SIGNATURE, STAMP = CLASSES.index("signature"), CLASSES.index("stamp")
SQUASHED = scan.Source(
    before=(),
    after=((scan.specks, 0.2), (scan.black_edges, 0.15), (scan.defocus, 0.15)),
    skew=0.5,
    keystone=0.001,
    square=0.8,
    border=(235, 256),
    shrink=0.02,
)
UPRIGHT = replace(SQUASHED, square=0.0)
# File name -> boxes of handwriting on the training letters that is no signature.
NOTES = json.loads(Path(__file__).with_name("real_notes.json").read_text())
FREE = 0.03  # a spot with less than this share of dark pixels counts as empty


def split(pages: list[Labelled], holdout: int) -> tuple[list[Labelled], list[Labelled]]:
    """Training pages, and at least `holdout` held-out ones; no source is in both."""
    sources = sorted({page.source for page in pages})
    kept_back: set[str] = set()
    for source in sources:
        if sum(page.source in kept_back for page in pages) >= holdout:
            break
        kept_back.add(source)
    return (
        [page for page in pages if page.source not in kept_back],
        [page for page in pages if page.source in kept_back],
    )


def _empty_spot(
    dark: np.ndarray, size: tuple[int, int], taken: np.ndarray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """A corner x, y for a patch of `size` (w, h) that meets no box of `taken` and little ink."""
    for _ in range(25):
        x = int(rng.integers(0, max(1, dark.shape[1] - size[0])))
        y = int(rng.integers(0, max(1, dark.shape[0] - size[1])))
        meets = (
            (taken[:, 0] < x + size[0])
            & (taken[:, 2] > x)
            & (taken[:, 1] < y + size[1])
            & (taken[:, 3] > y)
        ).any()
        if not meets and dark[y : y + size[1], x : x + size[0]].mean() < FREE:
            return x, y
    return None


def more_ink(
    page: Labelled, others: list[Labelled], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A variant of a real page: (H, W, 3) uint8 RGB pixels, class ids (n,), boxes (n, 4) xyxy.

    Generated stamps, signatures and notes and the signature and a note of other real pages are
    pressed on empty paper, some on print; then the page is set slightly anew.
    """
    pixels = cv2.cvtColor(cv2.imread(str(page.path)), cv2.COLOR_BGR2RGB)
    height, width = pixels.shape[:2]
    dark = (pixels.mean(axis=2) < 128).astype(np.float32)
    class_ids, xyxy = list(page.class_ids), [list(box) for box in page.xyxy]
    unit = height / 1000
    stretch = 1.25 if width == height else 1.0  # a squashed page is wider than it was

    def place(ink: np.ndarray, class_id: int | None, on_print: bool) -> None:
        taken = np.array(xyxy, np.float32).reshape(-1, 4)
        free = np.zeros_like(dark) if on_print else dark
        spot = _empty_spot(free, (ink.shape[1], ink.shape[0]), taken, rng)
        if spot is None:
            return
        points = press(pixels, ink, (10, 10, 10), spot, float(rng.uniform(0.7, 1.0)))
        if class_id is not None and len(points) > 20:
            class_ids.append(class_id)
            xyxy.append([*points.min(axis=0), *(points.max(axis=0) + 1)])

    pool = POOLS["train"]
    for _ in range(int(rng.choice((0, 1, 2), p=(0.35, 0.45, 0.2)))):
        ink = stamps.draw(designs.design(int(rng.choice(pool))), unit, rng).ink
        ink = cv2.resize(ink, None, fx=stretch, fy=1.0, interpolation=cv2.INTER_AREA)
        ink = np.clip((ink - rng.uniform(0.2, 0.5)) * rng.uniform(1.5, 5) + 0.5, 0, 1)
        place(ink, STAMP, on_print=rng.random() < 0.35)
    if rng.random() < 0.35:
        hand = handwriting.writer(int(pool[rng.integers(len(pool))]))
        plan = handwriting.signature_plan(hand, rng)
        sprawls = rng.random() < 0.25
        scale = unit * (rng.uniform(1.4, 2.4) if sprawls else 1.0)
        size = (rng.uniform(60, 190) * scale * stretch, rng.uniform(30, 70) * scale)
        ink = handwriting.draw(hand, plan, size, max(0.8, hand.pen * unit))
        place(ink, SIGNATURE, on_print=sprawls)
    if rng.random() < 0.6:
        other = others[rng.integers(len(others))]
        boxes = other.xyxy[other.class_ids == SIGNATURE]
        if len(boxes):
            ink = _cut(other.path, boxes[rng.integers(len(boxes))], rng)
            place(ink, SIGNATURE, on_print=rng.random() < 0.3)
    noted = [other for other in others if other.path.name in NOTES]
    if noted and rng.random() < 0.6:
        other = noted[rng.integers(len(noted))]
        boxes = np.array(NOTES[other.path.name])
        ink = _cut(other.path, boxes[rng.integers(len(boxes))], rng)
        place(ink, None, on_print=rng.random() < 0.2)
    for _ in range(int(rng.choice((0, 1, 2), p=(0.6, 0.25, 0.15)))):
        corner = (rng.uniform(0.03, 0.8) * width, rng.uniform(0.03, 0.9) * height)
        lookalikes.note(
            partial(press, pixels), unit, corner, handwriting.writer(int(rng.choice(pool))), rng
        )

    source = SQUASHED if width == height else UPRIGHT
    if width == height and rng.random() < 0.3:  # undo the squash
        pixels = cv2.resize(pixels, (round(width * 0.75), height), interpolation=cv2.INTER_AREA)
        xyxy = [[b[0] * 0.75, b[1], b[2] * 0.75, b[3]] for b in xyxy]
        source = UPRIGHT
    scale = scan.FRAME / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pixels, matrix = scan.digitise(pixels, source, rng)
    boxes = np.array(xyxy, np.float32) * np.float32(scale)
    return pixels, np.array(class_ids, np.int64), _moved(boxes, matrix, pixels)


def _cut(path: Path, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w) float32 coverage of what a real page has in a box, at another size."""
    x0, y0, x1, y1 = box.astype(int)
    crop = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[max(0, y0) : y1, max(0, x0) : x1]
    scale = float(rng.uniform(0.7, 1.7))
    return cv2.resize(1 - crop.astype(np.float32) / 255, None, fx=scale, fy=scale)


def _moved(xyxy: np.ndarray, matrix: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) after the homography, clipped to the page; nearly exact, as turns are small."""
    if not len(xyxy):
        return xyxy.reshape(-1, 4)
    corners = xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    moved = cv2.perspectiveTransform(corners, matrix).reshape(-1, 4, 2)
    boxes = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
    limit = np.array([pixels.shape[1], pixels.shape[0]] * 2, np.float32)
    return np.clip(boxes, 0, limit)


def write(pages: list[Labelled], out: Path, copies: int, seed: int) -> list[Path]:
    """Write each page and `copies` variants of it in the YOLO layout; returns the image paths."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "labels").mkdir(parents=True, exist_ok=True)
    written = []
    for number, page in enumerate(pages):
        for copy in range(1 + copies):
            target = out / "images" / f"{number:04d}_{page.path.stem}_{copy}.jpg"
            if copy == 0:
                class_ids, xyxy, size = page.class_ids, page.xyxy, page.size
                target.write_bytes(page.path.read_bytes())
            else:
                rng = np.random.default_rng((seed, number, copy))
                pixels, class_ids, xyxy = more_ink(page, pages, rng)
                size = (pixels.shape[1], pixels.shape[0])
                cv2.imwrite(
                    str(target),
                    cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
                    [cv2.IMWRITE_JPEG_QUALITY, 92],
                )
            (out / "labels" / f"{target.stem}.txt").write_text(yolo_lines(class_ids, xyxy, size))
            written.append(target)
    return written
