"""A page as registration sees it: shrunk and grey, its ink, its features."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

LONG_SIDE = 1000  # px of a shrunk page
FEATURES = 2000  # most that a page has
TILES = 4  # a side: no part of the page has all features
SOFT = 1.2  # px: blur before features are looked for, so that noise has none
WINDOW = 31  # px: ink is darker than the mean of so much around it
DARKER = 14  # grey levels, at least
SPECK = 6  # px: fewer that hang together are dirt
LEAST_FEATURES = 150  # of a blank page
LEAST_INK = 2000  # px of a blank page


@dataclass(frozen=True)
class Sheet:
    """A page, LONG_SIDE px along its longer side."""

    size: tuple[int, int]  # width and height of the page itself, px
    grey: np.ndarray  # (h, w) uint8

    @cached_property
    def ink(self) -> np.ndarray:
        """(h, w) bool: print and writing, without dirt."""
        soft = cv2.GaussianBlur(self.grey, (3, 3), 0)
        dark = cv2.adaptiveThreshold(
            soft, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, WINDOW, DARKER
        )
        _, parts, statistics, _ = cv2.connectedComponentsWithStats(dark)
        large = statistics[:, cv2.CC_STAT_AREA] >= SPECK
        large[0] = False  # the paper
        return large[parts]

    @cached_property
    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """(n, 2) float32 points of the shrunk page and their (n, 32) uint8 ORB descriptors.

        The strongest of each tile, so that dense print in one place does not have them all.
        """
        orb = cv2.ORB.create(nfeatures=6 * FEATURES, fastThreshold=10)
        soft = cv2.GaussianBlur(self.grey, (0, 0), SOFT)
        found = sorted(orb.detect(soft, None), key=lambda point: -point.response)
        height, width = self.grey.shape
        room = np.full((TILES, TILES), -(-FEATURES // TILES**2))
        kept = []
        for point in found:
            tile = int(point.pt[1] * TILES / height), int(point.pt[0] * TILES / width)
            if room[tile]:
                room[tile] -= 1
                kept.append(point)
        points, descriptors = orb.compute(soft, kept)
        if descriptors is None:
            return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
        return np.array([point.pt for point in points], np.float32), descriptors

    def unfit(self) -> str:
        """Why no page can be laid onto this one; empty if it can."""
        points, ink = len(self.features[0]), int(self.ink.sum())
        if points < LEAST_FEATURES:
            return f"{points} features in its print, limit {LEAST_FEATURES}"
        if ink < LEAST_INK:
            return f"{ink} px of ink at {LONG_SIDE} px, limit {LEAST_INK}"
        return ""


def open_page(image: bytes | np.ndarray, page: int = 1) -> Sheet:
    """A page of an image file, upright as its EXIF says, or of (H, W) or (H, W, 3) RGB pixels.

    ValueError if the file does not decode or has no such page.
    """
    grey = decoded(image, page) if isinstance(image, bytes) else image
    if grey.ndim == 3:
        grey = cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = LONG_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return Sheet((width, height), cv2.resize(grey, size, interpolation=method))


def decoded(file: bytes, page: int, flags: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """(H, W) uint8 grey, or (H, W, 3) as `flags` say, of a page of an image file, upright."""
    data = np.frombuffer(file, np.uint8)
    if file[8:12] == b"WEBP" and b"EXIF" in file:  # OpenCV does not read its orientation
        raise ValueError("a WebP file with EXIF data, which is not read: convert it")
    try:
        if file[:4] in (b"II*\0", b"MM\0*"):
            found, pages = cv2.imdecodemulti(data, flags, range=(page - 1, page))
            pixels = pages[0] if found and pages else None
        else:
            pixels = cv2.imdecode(data, flags) if data.size and page == 1 else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError(f"{len(file)} bytes beginning {file[:8]!r}, page {page}: no image")
    return pixels


def upright(file: bytes, page: int, turned: int) -> bytes:
    """A JPEG of a page that lies turned clockwise by so many degrees, turned back."""
    pixels = np.rot90(decoded(file, page, cv2.IMREAD_COLOR), turned // 90)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def turned_back(
    box: tuple[float, float, float, float], turned: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box of the page that `upright` gives -> of the page itself, which has `size` (w, h)."""
    x0, y0, x1, y1 = box
    width, height = size
    if turned == 90:
        return width - y1, x0, width - y0, x1
    if turned == 180:
        return width - x1, height - y1, width - x0, height - y0
    if turned == 270:
        return y0, height - x1, y1, height - x0
    return box
