"""Files of pages: a PDF, a TIFF of several pages, any image that the servers take.

A page is made when it is asked for, so that memory is that of the pages in work.
"""

import re
import threading
from contextlib import closing
from typing import Protocol

from countersign.errors import Refused
from countersign.images import Image, encoded
from countersign.pages import Bounds, OtherKind, Page, TooLarge
from countersign.pdf import DPI, PdfDocument, PdfProcess, image_picture
from countersign.tiff import Tiff

KINDS = {  # what the servers take, by how it begins
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM.{12}",
}
PDF, PDF_WITHIN = b"%PDF-", 1024  # readers look for it there
ZIP_END, ZIP_END_BYTES, ZIP_COMMENT_MAX = b"PK\5\6", 22, 0xFFFF
EXPECTED = "expected a PDF, JPEG, PNG, TIFF, WebP or BMP file"


class Document(Protocol):
    """A file that was opened; close it."""

    kind: str  # pdf or image
    page_count: int

    def page(self, number: int, drawn: bool = False) -> Page:
        """Page `number`, from 1; a PDF's is `drawn` even if it is one scan. Raises Refused."""

    async def page_async(self, number: int, drawn: bool = False) -> Page:
        """As `page`, without holding up the event loop."""

    def close(self) -> None:
        """Frees what it holds."""


class ImageDocument:
    """An image file; each page of a TIFF goes alone."""

    kind = "image"

    def __init__(self, data: bytes, max_pages: int, tiff: bool = False) -> None:
        self._data = data
        self._tiff = Tiff(data) if tiff else None
        self.page_count = len(self._tiff.pages) if self._tiff else 1
        if self.page_count > max_pages:
            raise TooLarge(
                f"document: {self.page_count} pages, limit {max_pages}",
                self.page_count,
                max_pages,
                "pages",
            )

    def page(self, number: int, drawn: bool = False) -> Page:
        """Page `number`, from 1, as it is in the file. Raises Refused."""
        if not 1 <= number <= self.page_count:
            raise Refused(f"page: {number}, limit 1 to {self.page_count}")
        alone = self._tiff.page(number) if self._tiff and self.page_count > 1 else None
        return Page(number, self._data, number) if alone is None else Page(number, alone)

    async def page_async(self, number: int, drawn: bool = False) -> Page:
        """As `page`: it takes no longer than copying the page does."""
        return self.page(number)

    def close(self) -> None:
        """There is nothing to free."""


class UnknownDocument:
    """A file of a kind that is not known here; its first page tells how many it has."""

    kind = "image"
    page_count = 1

    def __init__(self, data: bytes) -> None:
        self._data = data

    def page(self, number: int, drawn: bool = False) -> Page:
        """The whole file, and which page of it."""
        return Page(number, self._data, number)

    async def page_async(self, number: int, drawn: bool = False) -> Page:
        """As `page`."""
        return self.page(number)

    def close(self) -> None:
        """There is nothing to free."""


def open_document(
    data: bytes,
    dpi: float = DPI,
    bounds: Bounds | None = None,
    process: PdfProcess | None = None,
) -> Document:
    """The document in `data`; a PDF's pages are drawn at `dpi`, by `process` if one is lent.

    Raises OtherKind for a file of none of these kinds, or of two; Encrypted and TooLarge; Refused
    for what cannot be read.
    """
    bounds = bounds or Bounds()
    if len(data) > bounds.max_bytes:
        raise TooLarge(
            f"document: {len(data)} bytes, limit {bounds.max_bytes}",
            len(data),
            bounds.max_bytes,
            "bytes",
        )
    kind = kind_of(data)
    if kind == "PDF":
        return PdfDocument(data, dpi, bounds, process)
    return ImageDocument(data, bounds.max_pages, kind == "TIFF")


class Pages:
    """The pages of a file, which is opened when the first is asked for; for any thread. Close it.

    `source` is a path, bytes or an array, as `images.encoded` takes it.
    """

    def __init__(self, source: Image, dpi: float = DPI, bounds: Bounds | None = None) -> None:
        self._source, self._dpi, self._bounds = source, dpi, bounds
        self._document: Document | None = None
        self._failure: Refused | None = None
        self._found = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """0 as long as it is not open."""
        return max(self._found, self._document.page_count) if self._document else 0

    def found(self, count: int) -> None:
        """The server found so many pages in a file of which it was sent all."""
        self._found = max(self._found, count)

    def page(self, number: int, drawn: bool = False) -> Page:
        """Page `number`, from 1. Raises Refused, as `open_document` does."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._document is None:
                try:
                    self._document = self._opened()
                except Refused as error:
                    self._failure = error
                    raise
            return self._document.page(number, drawn)

    def _opened(self) -> Document:
        data = encoded(self._source)
        try:
            return open_document(data, self._dpi, self._bounds)
        except OtherKind as error:
            if error.kinds:
                raise
            return UnknownDocument(data)  # the server says what is wrong with it

    def close(self) -> None:
        """It can no longer be asked."""
        self._failure = Refused("document: closed")
        if self._document is not None:
            self._document.close()


def picture_of(data: bytes, number: int, dpi: float, bounds: Bounds, process: PdfProcess) -> bytes:
    """Page `number` of the document in `data` as a JPEG at `dpi`, made by `process`.

    In the frame of its boxes: a PDF's page that is one scan is that scan. An image that says no
    resolution counts as one of 150 dpi, and none is enlarged. Raises as `open_document`, and
    Refused for a page that is not there.
    """
    if kind_of(data) == "PDF":
        with closing(PdfDocument(data, dpi, bounds, process)) as document:
            return document.picture(number, dpi)
    return image_picture(data, number, dpi, bounds, process)


def kind_of(data: bytes) -> str:
    """PDF, or a key of KINDS. Raises OtherKind for another file, and for one that is two."""
    found = [name for name, begin in KINDS.items() if re.match(begin, data[:16], re.DOTALL)]
    if PDF in data[:PDF_WITHIN]:
        found.append("PDF")
    if not found:
        raise OtherKind(f"document: {len(data)} bytes, begins {data[:8]!r}, {EXPECTED}", [])
    if is_zip(data):
        found.append("ZIP")
    if len(found) > 1:
        both = " and ".join(found)
        raise OtherKind(f"document: two formats in one file, {both}; {EXPECTED}", found)
    return found[0]


def is_zip(data: bytes) -> bool:
    """Whether a ZIP archive's end is that of the file (PKWARE's APPNOTE, 4.3.16)."""
    tail = data[-(ZIP_END_BYTES + ZIP_COMMENT_MAX) :]
    at = tail.rfind(ZIP_END)
    while at >= 0:
        rest = len(tail) - at - ZIP_END_BYTES
        if rest >= 0 and int.from_bytes(tail[at + 20 : at + 22], "little") == rest:
            return True
        at = tail.rfind(ZIP_END, 0, at)
    return False
