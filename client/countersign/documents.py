"""Files of pages: a PDF, a TIFF of several pages, any image that the servers take.

A page is made when it is asked for, so that memory is that of the pages in work.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

DPI = 150  # at which pages of a PDF are drawn


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

    def to_points(self, boxes: np.ndarray) -> npt.NDArray[np.float64]:
        """(N, 4) x0 y0 x1 y1 in pixels -> the same in points. ValueError for what is no PDF's."""
        if self.matrix is None:
            raise ValueError(f"page {self.number}: of an image, which has no points")
        corners = boxes.astype(np.float64).reshape(-1, 2, 2)
        moved = corners @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)


class Document(Protocol):
    """A file that was opened; close it."""

    kind: str  # pdf or image
    page_count: int

    def page(self, number: int) -> Page:
        """Page `number`, from 1. Raises Refused."""

    async def page_async(self, number: int) -> Page:
        """As `page`, without holding up the event loop."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclass
class ImageDocument:
    """An image file, of which the servers take each page by its number."""

    data: bytes = field(repr=False)
    page_count: int = 1
    kind: str = "image"

    def page(self, number: int) -> Page:
        """The whole file, and which page of it."""
        return Page(number, self.data, number)

    async def page_async(self, number: int) -> Page:
        """As `page`."""
        return self.page(number)

    def close(self) -> None:
        """There is nothing to free."""


def open_document(data: bytes) -> Document:
    """The document in `data`. Raises Refused for what is none."""
    return ImageDocument(data)


async def open_document_async(data: bytes) -> Document:
    """As `open_document`, without holding up the event loop."""
    return await asyncio.to_thread(open_document, data)
