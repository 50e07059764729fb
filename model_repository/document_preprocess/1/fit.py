"""A page fitted into the input of a detector, in the way its training fitted pages.

letterbox  as large as fits, centred on grey (YOLO)
stretch    width and height each to the whole input (RT-DETR)
corner     as large as fits, at the top left (DETR, whose graphs mask the rest)
upright    an upright page stretched, any other letterboxed; for an input of an upright page's shape
"""

from typing import NamedTuple

import cv2
import numpy as np

PADDING = 114  # the grey that YOLO is trained with
WAYS = ("letterbox", "stretch", "upright")  # and "corner", for networks that take a mask too
UPRIGHT = (1.0, 1.8)  # height over width: from pages squashed to a square up to phone photos


class Fit(NamedTuple):
    width: int  # px of the input
    height: int
    way: str = "letterbox"
    shortest: int = 0  # px that the page's shorter side gets at most; 0 is no limit
    planes: bool = False  # float32 planes in [0, 1], as ONNX files of others want, not uint8 pixels


def scales(width: int, height: int, fit: Fit) -> tuple[float, float]:
    """The factors by which a page's width and height change."""
    across, down = fit.width / width, fit.height / height
    lowest, highest = UPRIGHT
    upright = fit.way == "upright" and lowest * width <= height <= highest * width
    if fit.way == "stretch" or upright:
        return across, down
    scale = min(across, down)
    if fit.shortest:
        scale = min(scale, fit.shortest / min(width, height))
    return scale, scale


def letterbox(width: int, height: int, fit: Fit) -> tuple[int, int, int, int]:
    """pad_x, pad_y, width, height in whole pixels of a page fitted into the input."""
    across, down = scales(width, height, fit)
    fitted_width = max(1, round(width * across))
    fitted_height = max(1, round(height * down))
    if fit.way == "corner":
        return 0, 0, fitted_width, fitted_height
    return (
        (fit.width - fitted_width) // 2,
        (fit.height - fitted_height) // 2,
        fitted_width,
        fitted_height,
    )


def to_pixels(page: np.ndarray, box: tuple[int, int, int, int], fit: Fit) -> np.ndarray:
    """(h, w) or (h, w, 3) uint8 page -> the input (H, W) with the page inside `box`, RGB.

    (1, H, W, 3) uint8, or as planes (1, 3, H, W) float32 in [0, 1].
    """
    pad_x, pad_y, width, height = box
    # AREA keeps thin strokes when it shrinks; to enlarge it would repeat pixels
    shrinks = page.shape[1] > width or page.shape[0] > height
    fitted = cv2.resize(
        page, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    pixels = np.full((1, fit.height, fit.width, 3), PADDING, np.uint8)
    inside = pixels[0, pad_y : pad_y + height, pad_x : pad_x + width]
    inside[:] = fitted if fitted.ndim == 3 else fitted[..., None]
    if fit.planes:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 255
    return pixels
