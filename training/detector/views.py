"""Pages as a network sees them: shrunk once into a cache, moved and aged anew at every view."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from inprocess.steps import fit as fits
from training.detector import scan
from training.detector.labels import CLASSES, Labelled, digest

SPARE = 1.5  # a cached page is at most so much larger than the input, to be zoomed into
QUALITY = 95  # of the cache's JPEG files
SEEN, GONE = 0.5, 0.1  # shares of a box in view: from SEEN it is one, below GONE it is nothing
TINY = 4  # px at the input; a smaller box is to be ignored


@dataclass(frozen=True)
class Page:
    """One page in the cache. Boxes are xyxy as shares of its width and height."""

    file: Path
    source: str
    group: str  # what its figures are told apart by
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32
    ignore: np.ndarray  # (m, 4) float32
    labelled: np.ndarray  # (C,) bool: classes whose boxes are complete


@dataclass(frozen=True)
class View:
    """What the network is shown: pixels and boxes of the input."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32
    ignore: np.ndarray  # (m, 4) float32
    labelled: np.ndarray  # (C,) bool


def cache(pages: Sequence[Labelled], folder: Path, fit: Any, group: str) -> list[Page]:
    """The pages, shrunk by area into `folder` unless they are there; one left out is never kept.

    A file's name is the digest of the page's, so that a page that changes is shrunk anew.
    ValueError names a file that does not decode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shrink = partial(_shrink, folder=folder, fit=fit)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(
            tqdm(
                pool.map(shrink, [page.path for page in pages]),
                desc=f"cache {group}", unit="page", total=len(pages),
            )
        )  # fmt: skip
    return [cached(page, file, group) for page, file in zip(pages, files, strict=True)]


def cached(page: Labelled, file: Path, group: str) -> Page:
    size = np.array([*page.size, *page.size], np.float32)
    return Page(
        file=file,
        source=page.source,
        group=f"{group} {page.group}".strip(),
        class_ids=page.class_ids,
        xyxy=page.xyxy / size,
        ignore=page.ignore / size,
        labelled=np.array([name in page.labelled for name in CLASSES]),
    )


def _shrink(path: Path, folder: Path, fit: Any) -> Path:
    target = folder / f"{digest(path)[:24]}_{fit.width}x{fit.height}.jpg"
    if target.exists():
        return target
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{path}: no image")
    height, width = pixels.shape[:2]
    fitted = fits.letterbox(width, height, fit)[2:]
    size = tuple(
        min(side, round(SPARE * most)) for side, most in zip((width, height), fitted, strict=True)
    )
    if size != (width, height):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    # two files may be the same page, and two runs may share the folder
    partial_file = target.with_suffix(f".{os.getpid()}-{get_ident()}.jpg")
    cv2.imwrite(str(partial_file), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    partial_file.rename(target)
    return target


def read_cached(file: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.imread(str(file), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def plain_view(page: Page, fit: Any) -> View:
    """The page as it is served."""
    return _fitted(read_cached(page.file), page, page.class_ids, page.xyxy, page.ignore, fit)


def view(
    page: Page, pixels: np.ndarray, class_ids: np.ndarray, xyxy: np.ndarray, fit: Any, zoom: float,
    rng: np.random.Generator,
) -> View:  # fmt: skip
    """A page as it might have come otherwise: turned, zoomed, aged.

    `pixels` and the boxes, as shares, are those of the page, or with more ink on it than `page`
    has. `zoom` is the probability of another scale.
    """
    ignore = page.ignore
    boxes = np.vstack([xyxy, ignore])
    if rng.random() < 0.03:
        quarters = int(rng.integers(1, 4))
        pixels, boxes = np.rot90(pixels, -quarters), _quarter_turns(boxes, quarters)
    if rng.random() < 0.4:
        pixels, boxes = _tilted(pixels, boxes, float(np.clip(rng.normal(0, 1.0), -3, 3)))
    if rng.random() < zoom:
        pixels, boxes = _zoomed(pixels, boxes, rng)
    if rng.random() < 0.15:
        pixels = scan.photocopy(np.ascontiguousarray(pixels), float(rng.random()), rng)
    xyxy, ignore = boxes[: len(xyxy)], boxes[len(xyxy) :]
    seen = _fitted(pixels, page, class_ids, xyxy, ignore, fit)
    return View(
        _aged(seen.pixels, rng), seen.class_ids, seen.xyxy, seen.ignore, seen.labelled
    )  # fmt: skip


def _fitted(
    pixels: np.ndarray, page: Page, class_ids: np.ndarray, xyxy: np.ndarray, ignore: np.ndarray,
    fit: Any,
) -> View:  # fmt: skip
    """Into the input as serving does; boxes mostly out of view become areas to ignore."""
    height, width = pixels.shape[:2]
    box = fits.letterbox(width, height, fit)
    fitted = fits.to_pixels(np.ascontiguousarray(pixels), box, fit)[0]
    whole = np.clip(xyxy, 0, 1)
    in_view = _areas(whole) / _areas(xyxy).clip(1e-9)
    placed = whole * np.tile(box[2:], 2) + np.tile(box[:2], 2)
    small = (placed[:, 2:] - placed[:, :2]).min(axis=1, initial=np.inf) < TINY
    clear = (in_view >= SEEN) & ~small
    doubtful = ~clear & (in_view > GONE)
    ignored = np.clip(ignore, 0, 1) * np.tile(box[2:], 2) + np.tile(box[:2], 2)
    return View(
        pixels=fitted,
        class_ids=class_ids[clear],
        xyxy=placed[clear].astype(np.float32),
        ignore=np.vstack([ignored, placed[doubtful]]).astype(np.float32),
        labelled=page.labelled,
    )


def _quarter_turns(boxes: np.ndarray, quarters: int) -> np.ndarray:
    """Boxes after so many quarter turns clockwise."""
    for _ in range(quarters):
        x0, y0, x1, y1 = boxes.T
        boxes = np.stack([1 - y1, x0, 1 - y0, x1], axis=1)
    return boxes


def _tilted(pixels: np.ndarray, boxes: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turned about the middle. A box moves with its centre and grows by half of what its corners
    would ask for, since ink seldom reaches them.
    """
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    pixels = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    size = np.array([width, height])
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 * size) @ turn[:, :2].T + turn[:, 2]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * size
    half = (half + half @ np.abs(turn[:, :2]).T) / 2
    return pixels, np.hstack([centre - half, centre + half]) / np.tile(size, 2)


def _zoomed(
    pixels: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A window of the page, or the page within a larger frame."""
    close = rng.random() < 0.15
    scale = np.exp(rng.uniform(np.log(0.75), np.log(1.3))) if not close else rng.uniform(1.5, 2.5)
    size = np.array(pixels.shape[1::-1])
    window = np.round(size / scale * np.exp(rng.normal(0, 0.06, 2))).astype(int).clip(32)
    left, top = np.round(rng.random(2) * (size - window)).astype(int)  # negative: beside the page
    border = [(255,) * 3, (fits.PADDING,) * 3, (0,) * 3][rng.choice(3, p=(0.4, 0.4, 0.2))]
    frame = np.full((window[1], window[0], 3), border, np.uint8)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(size[0], left + window[0]), min(size[1], top + window[1])
    frame[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    moved = (boxes * np.tile(size, 2) - (left, top, left, top)) / np.tile(window, 2)
    return frame, moved


def _aged(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other ink, other paper, other light, another camera."""
    if rng.random() < 0.25:
        pixels = _other_hue(pixels, rng)
    if rng.random() < 0.25:
        pixels = scan.grey(pixels, 1.0, rng)
    if rng.random() < 0.15:
        tint = 1 - rng.uniform(0, 0.3) * rng.random(3)
        pixels = (pixels * tint).astype(np.uint8)
    for defect, probability in (
        (scan.show_through, 0.03), (scan.old_paper, 0.05), (scan.uneven_light, 0.06),
        (scan.defocus, 0.12), (scan.motion_blur, 0.03), (scan.low_resolution, 0.06),
        (scan.sensor_noise, 0.08), (scan.specks, 0.04), (scan.jpeg_noise, 0.2),
    ):  # fmt: skip
        if rng.random() < probability:
            pixels = defect(pixels, float(rng.beta(1.2, 2.2)), rng)
    if rng.random() < 0.4:
        levels = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.5) * rng.uniform(0.75, 1.1)
        pixels = cv2.LUT(pixels, (levels * 255).clip(0, 255).astype(np.uint8))
    return pixels


def _other_hue(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All colours moved round the circle; greys stay."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + int(rng.integers(-60, 61))) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
