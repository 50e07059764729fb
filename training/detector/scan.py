"""What scanners, copiers, fax machines and phones do to a page.

Every defect takes and returns (H, W, 3) uint8 RGB pixels, with a strength in [0, 1] where 0 is
barely there; geometry is one homography, so that boxes follow it exactly. `digitise` puts them
together the way real sources do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

FRAME = 640  # px: long side of a scan at which a defect is as large as its numbers say
TURNED = 0.03  # share of pages that lie on their side or on their head
Defect = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def noise(shape: tuple[int, int], cell: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [0, 1], features of about `cell` px, float32."""
    small = (max(2, int(shape[0] / cell)), max(2, int(shape[1] / cell)))
    return cv2.resize(
        rng.random(small, dtype=np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR
    )


def _grain(pixels: np.ndarray) -> float:
    """How much larger than the numbers say a defect of these pixels is; at least 1."""
    return max(1.0, max(pixels.shape[:2]) / FRAME)


def photocopy(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Black and white only, as old copiers and litigation scans are; strokes swell or break."""
    grey: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    paper = np.percentile(grey[::16, ::16], 75)  # copiers set their exposure by it
    grey = cv2.convertScaleAbs(grey, alpha=250 / max(paper, 90))
    if rng.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.4 + 0.9 * strength)
    if rng.random() < 0.2 * strength:
        grey = cv2.erode(grey, np.ones((2, 2), np.uint8))  # ink swells
    height, width = grey.shape
    limit = rng.uniform(175, 235) - 40 * strength * noise((height, width), 180, rng)
    coarse = rng.normal(0, 3 + 18 * strength, (height // 2 + 1, width // 2 + 1))
    grain = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    # The ramp stands for the finer raster that real copies are scanned at.
    toner = (grey + grain - limit) * (255 / rng.uniform(10, 90)) + 127
    return cv2.merge([np.clip(toner, 0, 255).astype(np.uint8)] * 3)


def fax_bands(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Lines lost or repeated across the page, and a coarse raster."""
    out = pixels.copy()
    height, width = out.shape[:2]
    for _ in range(int(1 + 8 * strength)):
        y, thick = int(rng.integers(height - 8)), int(rng.uniform(1, 4) * _grain(out))
        if rng.random() < 0.5:
            out[y : y + thick] = 255
        else:
            out[y : y + thick] = out[y]
    factor = 1 + 0.8 * strength
    small = cv2.resize(
        out, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_LINEAR
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def black_edges(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Ragged dark wedges at one to three edges where the copier lid stood open."""
    out = pixels.copy()
    height, width = out.shape[:2]
    for side in rng.permutation(4)[: rng.integers(1, 4)]:
        span, along = (height, width) if side % 2 == 0 else (width, height)
        depth = span * (0.008 + 0.05 * strength * rng.random())
        xs = np.linspace(0, along, 14)
        ragged = np.clip(
            np.linspace(rng.random(), rng.random(), 14) * depth + rng.normal(0, depth * 0.12, 14),
            0,
            None,
        )
        outline = np.concatenate([np.stack([xs, ragged], 1), [[along, -9], [0, -9]]])
        if side == 1:
            outline = outline[:, ::-1]
        elif side == 2:
            outline = outline * (1, -1) + (0, height)
        elif side == 3:
            outline = outline[:, ::-1] * (-1, 1) + (width, 0)
        cv2.fillPoly(out, [np.round(outline).astype(np.int32)], (int(rng.integers(0, 30)),) * 3)
    return out


def specks(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Dirt: pepper everywhere or in a cloud, a few larger spots, white drop-outs in the print."""
    out = pixels.copy()
    height, width = out.shape[:2]
    count = int(height * width * 0.00003 * 10 ** (3.0 * strength * rng.random()))
    if rng.random() < 0.6:
        rows, cols = rng.integers(0, height, count), rng.integers(0, width, count)
    else:
        middle, spread = rng.random(2) * (height, width), rng.uniform(0.1, 0.4) * height
        rows = np.clip(rng.normal(middle[0], spread, count), 0, height - 1).astype(np.int64)
        cols = np.clip(rng.normal(middle[1], spread, count), 0, width - 1).astype(np.int64)
    out[rows, cols] = rng.integers(0, 90, (count, 1)).astype(np.uint8)
    most: Any = 1 + 14 * strength
    for _ in range(int(rng.integers(most))):
        cv2.circle(
            out,
            (int(rng.integers(width)), int(rng.integers(height))),
            int(rng.uniform(1, 3) * _grain(out)),
            (30, 30, 30),
            -1,
        )
    lost = int(count * 0.3)
    out[rng.integers(0, height, lost), rng.integers(0, width, lost)] = 255
    return out


def streaks(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Thin dark lines down or across the whole page: a scratched drum, dust on the glass."""
    out = pixels.copy()
    for _ in range(int(1 + 3 * strength * rng.random())):
        shade = (int(rng.integers(0, 120)),) * 3
        if rng.random() < 0.7:
            x = int(rng.integers(out.shape[1]))
            cv2.line(out, (x, 0), (x + int(rng.normal(0, 4)), out.shape[0]), shade, 1)
        else:
            y = int(rng.integers(out.shape[0]))
            cv2.line(out, (0, y), (out.shape[1], y + int(rng.normal(0, 4))), shade, 1)
    return out


def show_through(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The other side of thin paper, mirrored, soft and light."""
    back = cv2.GaussianBlur(pixels[:: -1 if rng.random() < 0.5 else 1, ::-1], (0, 0), 2)
    share = 0.05 + 0.2 * strength
    return cv2.addWeighted(pixels, 1.0, back, share, -255 * share)


def old_paper(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Yellow, bluish, brown or grey paper, cloudy, with creases."""
    tints = (
        (1.0, 0.96, 0.8),
        (0.85, 0.76, 0.58),
        (0.9, 0.93, 1.0),
        (0.93, 0.93, 0.92),
        (1.0, 0.93, 0.93),
    )
    tint = 1 - (1 - np.array(tints[rng.integers(len(tints))], np.float32)) * (0.3 + strength)
    height, width = pixels.shape[:2]
    shade = 1 - 0.18 * strength * noise((height, width), height / rng.uniform(2, 9), rng)
    for _ in range(int(rng.integers(0, 4)) if strength > 0.3 else 0):
        upright = rng.random() < 0.5
        where, line = rng.random(), np.arange(width if upright else height, dtype=np.float32)
        offset = np.abs(line - where * len(line))
        fold = 1 - (0.05 + 0.15 * strength) * np.exp(-((offset / rng.uniform(1, 6)) ** 2))
        shade = shade * (fold[None, :] if upright else fold[:, None])
    return cv2.multiply(pixels, shade[..., None].astype(np.float32) * tint, dtype=cv2.CV_8U)


def uneven_light(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A lamp to one side, the shadow of a hand, a dim room."""
    height, width = pixels.shape[:2]
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 0.5 + (cols / width - 0.5) * np.cos(angle) + (rows / height - 0.5) * np.sin(angle)
    light = 1 - strength * (0.45 * ramp + 0.25 * noise((height, width), height / 2, rng))
    warm = (1 + strength * rng.normal(0, 0.06, 3)).astype(np.float32)
    return cv2.multiply(pixels, light[..., None].astype(np.float32) * warm, dtype=cv2.CV_8U)


def defocus(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), (0.3 + 1.0 * strength * rng.random()) * _grain(pixels))


def motion_blur(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    size = 3 + 2 * int(2 * strength * rng.random() * _grain(pixels))
    kernel = np.zeros((size, size), np.float32)
    angle, half = rng.uniform(0, np.pi), size // 2
    tip = (round(half * np.cos(angle)), round(half * np.sin(angle)))
    cv2.line(kernel, (half - tip[0], half - tip[1]), (half + tip[0], half + tip[1]), (1.0,))
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


def low_resolution(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    factor = 1 + 1.2 * strength * rng.random()
    small = cv2.resize(
        pixels, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA
    )
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def sensor_noise(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    grain: Any = np.empty(pixels.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    cv2.randn(grain, np.zeros(3), np.full(3, 2 + 12 * strength))
    return cv2.add(pixels, grain, dtype=cv2.CV_8U)


def jpeg_noise(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    quality = int(95 - 60 * strength * rng.random())
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def grey(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


@dataclass(frozen=True)
class Source:
    """How one kind of scanner works: `before` on the page, `after` on the scan."""

    before: tuple[tuple[Defect, float], ...]  # defect, probability
    after: tuple[tuple[Defect, float], ...]
    skew: float  # standard deviation, degrees
    keystone: float  # perspective, share of the page
    square: float  # probability of being squashed to a square
    border: tuple[int, int]  # grey range of what lies outside the page
    shrink: float  # probability of a page much smaller than its frame


SOURCES = {
    "archive": Source(  # bilevel copies of copies
        before=((show_through, 0.03), (old_paper, 0.1), (photocopy, 0.85), (grey, 1.0)),
        after=(
            (photocopy, 0.12), (black_edges, 0.35), (specks, 0.4), (streaks, 0.08),
            (low_resolution, 0.1), (jpeg_noise, 0.5),
        ),
        skew=0.9, keystone=0.002, square=0.15, border=(0, 12), shrink=0.06,
    ),
    "clean": Source(  # a scanner in an office, in colour
        before=((show_through, 0.06), (old_paper, 0.06)),
        after=((defocus, 0.4), (sensor_noise, 0.15), (jpeg_noise, 0.8)),
        skew=0.4, keystone=0.0, square=0.15, border=(235, 256), shrink=0.0,
    ),
    "flatbed": Source(
        before=((show_through, 0.15), (old_paper, 0.3)),
        after=(
            (grey, 0.3), (defocus, 0.5), (sensor_noise, 0.3), (photocopy, 0.06), (specks, 0.1),
            (jpeg_noise, 0.7),
        ),
        skew=0.7, keystone=0.0, square=0.25, border=(225, 256), shrink=0.01,
    ),
    "phone": Source(
        before=((old_paper, 0.4),),
        after=(
            (uneven_light, 0.9), (defocus, 0.5), (motion_blur, 0.25), (low_resolution, 0.3),
            (sensor_noise, 0.6), (photocopy, 0.06), (jpeg_noise, 0.9),
        ),
        skew=2.2, keystone=0.035, square=0.25, border=(20, 150), shrink=0.05,
    ),
    "fax": Source(
        before=((photocopy, 1.0),),
        after=((fax_bands, 0.8), (specks, 0.4), (streaks, 0.2)),
        skew=0.6, keystone=0.0, square=0.15, border=(250, 256), shrink=0.0,
    ),
    "aged": Source(
        before=((show_through, 0.4), (old_paper, 1.0)),
        after=((uneven_light, 0.3), (defocus, 0.6), (specks, 0.3), (jpeg_noise, 0.8)),
        skew=1.2, keystone=0.004, square=0.2, border=(0, 60), shrink=0.02,
    ),
}  # fmt: skip
OFFICE = {
    "archive": 0.5, "clean": 0.14, "flatbed": 0.16, "phone": 0.07, "fax": 0.06, "aged": 0.07,
}  # fmt: skip
SOLEMN = {"archive": 0.16, "clean": 0.24, "flatbed": 0.28, "phone": 0.22, "aged": 0.1}
SHARES = {  # of SOURCES by kind of page
    "letter": OFFICE,
    "continuation": OFFICE,
    "memo": OFFICE,
    "table": OFFICE,
    "manuscript": OFFICE,
    "invoice": {"archive": 0.05, "clean": 0.63, "flatbed": 0.17, "phone": 0.12, "fax": 0.03},
    "receipt": {"clean": 0.1, "flatbed": 0.1, "phone": 0.8},
}


def frame_of(
    size: tuple[int, int], source: Source, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int]]:
    """Where the page falls on the scan: (3, 3) homography page px -> scan px, scan (width, height).

    `size` is the page's (width, height). Skew, perspective, a cut corner, a squashed aspect ratio,
    now and then a page turned by about a quarter or a half.
    """
    page = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size).astype(np.float32)
    angle = np.deg2rad(np.clip(rng.normal(0, source.skew), -5, 5))
    middle = page.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (page - middle) @ turn.T + middle
    corners += rng.normal(0, source.keystone + 1e-6, (4, 2)) * size
    zoom = rng.uniform(0.5, 0.8) if rng.random() < source.shrink else rng.normal(1.0, 0.012)
    shift = rng.normal(0, 0.012, 2) if zoom > 0.9 else rng.uniform(-0.5, 0.5, 2) * (1 - zoom)
    corners = (corners - middle) * zoom + middle + shift * size
    scan = (max(size), max(size)) if rng.random() < source.square else size
    corners = corners / size * scan
    if rng.random() < TURNED:
        quarter = int(rng.choice((1, 2, 3)))
        tilt = np.deg2rad(90 * quarter + rng.normal(0, 3))
        centre = np.array(scan) / 2
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        corners = (corners - centre) @ turn.T
        corners *= min(scan) / max(scan) if quarter % 2 else 1.0
        corners += centre
    return cv2.getPerspectiveTransform(page, corners.astype(np.float32)), scan


def digitise(
    pixels: np.ndarray, source: Source, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A drawn page (H, W, 3) uint8 as `source` would deliver it, and the (3, 3) homography."""
    strength = float(rng.beta(1.2, 2.2))
    for defect, probability in source.before:
        if rng.random() < probability:
            pixels = defect(pixels, strength, rng)
    height, width = pixels.shape[:2]
    matrix, scan = frame_of((width, height), source, rng)
    border = int(rng.integers(*source.border))
    pixels = cv2.warpPerspective(
        pixels, matrix, scan, flags=cv2.INTER_LINEAR, borderValue=(border,) * 3
    )
    for defect, probability in source.after:
        if rng.random() < probability:
            pixels = defect(pixels, strength, rng)
    return pixels, matrix


def pick(rng: np.random.Generator, kind: str = "") -> Source:
    """The scanner of a page of `kind`."""
    shares = np.array(list(SHARES.get(kind, SOLEMN).values()))
    return SOURCES[list(SHARES.get(kind, SOLEMN))[rng.choice(len(shares), p=shares)]]
