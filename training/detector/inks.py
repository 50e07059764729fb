"""Marks cut out of labelled pages, and pressed onto others as ink: real ink on any paper.

A cut-out keeps how much light its ink takes from the paper beneath, per channel, so that print
shows through it as it does on paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.detector.labels import CLASSES
from training.detector.views import Page, read_cached

SIGNATURE, STAMP = CLASSES.index("signature"), CLASSES.index("stamp")
PAPER = 85  # percentile of a crop's channels that counts as its paper
GRAIN = 0.08  # of the light; what takes less is the paper's own texture
COVER = (0.01, 0.5)  # mean of what a mark takes; else it is faint, or the crop no mark on paper
SMALLEST = 12  # px in the cache; less shows no stroke
CROSSED = 0.15  # share of a mark's box under another's, from which it is not cut out
APART = 0.1  # IoU of a pasted mark with one of its own class, at most
EDGE = 3  # px over which a cut-out fades, so that it has no frame
KEEPS_INK = 0.5  # of the marks keep their ink
INKS = np.array(
    [
        (20, 20, 25), (60, 60, 66), (28, 40, 110), (45, 65, 145), (80, 130, 205), (25, 85, 150),
        (95, 70, 165), (120, 60, 140), (150, 30, 45), (205, 70, 85), (30, 110, 80), (25, 115, 125),
    ],
    np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class CutOut:
    """One mark: how much light it takes, and how large it was on its page."""

    class_id: int
    takes: np.ndarray  # (h, w, 3) uint8, 255 takes all
    share: tuple[float, float]  # of its page's width and height


def cut_outs(pages: Sequence[Page]) -> list[CutOut]:
    """Every mark of the pages that stands alone on paper lighter than its ink."""
    found = []
    for page in pages:
        if not len(page.xyxy):
            continue
        pixels = read_cached(page.file)
        height, width = pixels.shape[:2]
        edges = np.round(page.xyxy * (width, height, width, height)).astype(int)
        for number, (x0, y0, x1, y1) in enumerate(np.clip(edges, 0, (width, height) * 2)):
            if min(x1 - x0, y1 - y0) < SMALLEST or crossed(number, page.xyxy):
                continue
            takes = light_taken(pixels[y0:y1, x0:x1])
            if COVER[0] <= takes.max(axis=2).mean() / 255 <= COVER[1]:
                share = ((x1 - x0) / width, (y1 - y0) / height)
                found.append(CutOut(int(page.class_ids[number]), takes, share))
    return found


def light_taken(crop: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: what the ink in a crop takes of its paper's light, by channel."""
    paper = np.percentile(crop.reshape(-1, 3), PAPER, axis=0).clip(1)
    takes = ((1 - crop / paper - GRAIN) / (1 - GRAIN)).clip(0, 1)
    for axis, length in enumerate(crop.shape[:2]):
        from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
        fade = (from_edge / EDGE).clip(0, 1)
        takes = takes * (fade[:, None, None] if axis == 0 else fade[None, :, None])
    return (takes * 255).astype(np.uint8)


def crossed(number: int, xyxy: np.ndarray) -> bool:
    """Whether other boxes cover more than CROSSED of box `number`."""
    others = np.delete(xyxy, number, axis=0)
    box = xyxy[number]
    return bool((_common(box, others) > CROSSED * _area(box)).any())


def press(
    pixels: np.ndarray, takes: np.ndarray, corner: tuple[int, int], ink: np.ndarray | None
) -> None:
    """Press a cut-out (h, w, 3) onto `pixels` (H, W, 3) uint8 RGB in place, left top at `corner`.

    It lies within them. `ink` (3,) is its colour, None its own.
    """
    x, y = corner
    below = pixels[y : y + takes.shape[0], x : x + takes.shape[1]]
    light = takes.astype(np.float32) / 255
    if ink is not None:
        light = light.max(axis=2, keepdims=True) * (1 - ink / 255)
    below[:] = below * (1 - light)


def ink_of(crop: np.ndarray) -> np.ndarray:
    """The colour (3,) float32 of the ink in a crop (h, w, 3): that of its darkest twentieth."""
    flat = crop.reshape(-1, 3)
    darkest = np.argsort(flat.sum(axis=1))[: max(1, len(flat) // 20)]
    return flat[darkest].mean(axis=0).astype(np.float32)


def paste(
    pixels: np.ndarray,
    class_ids: np.ndarray,
    xyxy: np.ndarray,
    cut_out: CutOut,
    rng: np.random.Generator,
    over: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Press a mark onto a page in place; returns class ids (n + 1,) and boxes (n + 1, 4).

    It lands across the box `over`, half of the time in the ink found there, else anywhere. Where it
    would meet a mark of its class, or not fit, the page stays as it is.
    """
    height, width = pixels.shape[:2]
    size = np.array(cut_out.share) * (width, height) * rng.uniform(0.7, 1.35) * (
        rng.uniform(0.9, 1.1, 2)
    )  # fmt: skip
    if over is not None:
        span = over[2:] - over[:2]
        size *= min(1.0, float((2.0 * span / size).min()))  # not far wider than what it crosses
    w, h = np.round(size).astype(int)
    if min(w, h) < SMALLEST or w >= width or h >= height:
        return class_ids, xyxy
    if over is not None:
        centre = rng.uniform(over[:2], over[2:])
        corner = np.clip(np.round(centre - size / 2), 0, (width - w, height - h)).astype(int)
        same_ink = rng.random() < 0.5
        x0, y0, x1, y1 = np.round(over).astype(int)
        ink = ink_of(pixels[max(0, y0) : y1, max(0, x0) : x1]) if same_ink else _ink(rng)
    else:
        corner = np.array([rng.integers(width - w), rng.integers(height - h)])
        ink = _ink(rng)
    box = np.concatenate([corner, corner + np.array([w, h])]).astype(np.float32)
    same = xyxy[class_ids == cut_out.class_id]
    if (_common(box, same) > APART * (_area(box) + _areas(same))).any():
        return class_ids, xyxy
    takes = cv2.resize(_turned(cut_out, rng), (int(w), int(h)), interpolation=cv2.INTER_AREA)
    press(pixels, takes, (int(corner[0]), int(corner[1])), ink)
    return np.append(class_ids, cut_out.class_id), np.vstack([xyxy, box])


def _ink(rng: np.random.Generator) -> np.ndarray | None:
    return None if rng.random() < KEEPS_INK else INKS[rng.integers(len(INKS))]


def _turned(cut_out: CutOut, rng: np.random.Generator) -> np.ndarray:
    """What it takes, tilted a little within its frame; stamps more."""
    height, width = cut_out.takes.shape[:2]
    angle = rng.normal(0, 8 if cut_out.class_id == STAMP else 3)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(angle), 0.97)
    return cv2.warpAffine(cut_out.takes, turn, (width, height))


def _common(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) the areas that `box` (4,) and `others` (n, 4) have in common."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1)


def _area(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).prod())


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
