"""A page of a document, what a document may take, and how it is refused."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from countersign.errors import Refused


class TooLarge(Refused):
    """More than a limit allows; `value` and `limit` are of `unit`."""

    def __init__(self, detail: str, value: int, limit: int, unit: str) -> None:
        super().__init__(detail)
        self.value, self.limit, self.unit = value, limit, unit


class Encrypted(Refused):
    """The document asks for a password."""


class OtherKind(Refused):
    """The file is no document of a kind that is read, or of two `kinds` at once."""

    def __init__(self, detail: str, kinds: list[str]) -> None:
        super().__init__(detail)
        self.kinds = kinds


@dataclass(frozen=True)
class Bounds:
    """What a document may take."""

    max_bytes: int = 2**30
    max_pages: int = 2000
    max_pixels: int = 100_000_000  # of a page that is drawn
    page_s: float = 10.0  # that drawing a page may take


@dataclass(frozen=True)
class Page:
    """One page as the servers take it, and what of a PDF belongs to it."""

    number: int  # in its document, from 1
    image: bytes = field(repr=False)  # an image file
    page_number: int = 1  # of that file: the servers' parameter `page`
    size_points: tuple[float, float] | None = None  # width, height of a PDF's page as it is shown
    # pixels of the image as it is shown -> points from the page's top left: (2, 3), x and y rows
    matrix: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    # what the PDF says of itself: name, bbox_points, of a field also whether it is signed
    signature_fields: list[dict[str, Any]] = field(default_factory=list)
    stamp_annotations: list[dict[str, Any]] = field(default_factory=list)
    embedded: bool = False  # the image is the scan that the PDF's page consists of

    def to_points(self, boxes: np.ndarray) -> npt.NDArray[np.float64]:
        """(N, 4) x0 y0 x1 y1 in pixels -> the same in points. ValueError for what is no PDF's."""
        if self.matrix is None:
            raise ValueError(f"page {self.number}: of an image, which has no points")
        corners = boxes.astype(np.float64).reshape(-1, 2, 2)
        return (corners * self.matrix.diagonal() + self.matrix[:, 2]).reshape(-1, 4)
