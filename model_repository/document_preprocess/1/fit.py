"""A page fitted into the square input of a detector, in the way its training fitted pages.

letterbox  as large as fits, centred on grey (YOLO)
stretch    width and height each to the whole side (RT-DETR)
corner     as large as fits, at the top left (DETR, whose graphs mask the rest)
"""

from typing import NamedTuple

import cv2
import numpy as np

PADDING = 114  # the grey that YOLO is trained with


class Fit(NamedTuple):
    side: int  # px of the square
    way: str = "letterbox"
    shortest: int = 0  # px that the page's shorter side gets at most; 0 is no limit
    planes: bool = False  # float32 planes in [0, 1], as ONNX files of others want, not uint8 pixels


def scales(width: int, height: int, fit: Fit) -> tuple[float, float]:
    """The factors by which a page's width and height change."""
    if fit.way == "stretch":
        return fit.side / width, fit.side / height
    scale = fit.side / max(width, height)
    if fit.shortest:
        scale = min(scale, fit.shortest / min(width, height))
    return scale, scale


def letterbox(width: int, height: int, fit: Fit) -> tuple[int, int, int, int]:
    """pad_x, pad_y, width, height in whole pixels of a page fitted into the square."""
    across, down = scales(width, height, fit)
    fitted_width = max(1, round(width * across))
    fitted_height = max(1, round(height * down))
    if fit.way == "corner":
        return 0, 0, fitted_width, fitted_height
    return (
        (fit.side - fitted_width) // 2,
        (fit.side - fitted_height) // 2,
        fitted_width,
        fitted_height,
    )


def to_pixels(page: np.ndarray, box: tuple[int, int, int, int], fit: Fit) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 page -> the square with the page inside `box`, RGB.

    (1, side, side, 3) uint8, or as planes (1, 3, side, side) float32 in [0, 1].
    """
    pad_x, pad_y, width, height = box
    # AREA keeps thin strokes when it shrinks; to enlarge it would repeat pixels
    shrinks = page.shape[1] > width or page.shape[0] > height
    fitted = cv2.resize(
        page, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    pixels = np.full((1, fit.side, fit.side, 3), PADDING, np.uint8)
    inside = pixels[0, pad_y : pad_y + height, pad_x : pad_x + width]
    inside[:] = fitted if fitted.ndim == 3 else fitted[..., None]
    if fit.planes:
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 255
    return pixels
