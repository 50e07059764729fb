"""A PDF's page that is one scan: that scan as an image file, without drawing the page."""

import ctypes
import io
import re
import struct
from collections.abc import Callable
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as c
from PIL import Image

from countersign.pdf_pictures import SIDEWAYS, TURNS, jpeg

OBJECTS_MAX = 20_000  # of a page that is looked at for being a scan; text under it is many
COVERED = 0.7  # of a page's area, by a scan
BEYOND = 0.01  # of a page's edge, that a scan may be cut by
HIDDEN_TEXT = 3  # PDF's text rendering mode, of recognised text under a scan
JPEG_SPACES = (
    c.FPDF_COLORSPACE_DEVICEGRAY,
    c.FPDF_COLORSPACE_DEVICERGB,
    c.FPDF_COLORSPACE_CALGRAY,
    c.FPDF_COLORSPACE_CALRGB,
    c.FPDF_COLORSPACE_ICCBASED,
)
JPEG_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..\x08....(.)", re.DOTALL)


def scan_of(
    page: pdfium.PdfPage, masked: Callable[[], bool], most: int
) -> tuple[bytes, list] | None:
    """The one image that a page consists of, as an image file, and the map of its pixels to points.

    None if the page has anything else that is to be seen, or if the image is cut, skewed, `masked`
    or of more than `most` pixels.
    """
    image = only_image(page)
    if image is None or masked() or c.FPDFPageObj_HasTransparency(image):
        return None
    matrix = c.FS_MATRIX()
    meta = c.FPDF_IMAGEOBJ_METADATA()
    if not (
        c.FPDFPageObj_GetMatrix(image, matrix)
        and c.FPDFImageObj_GetImageMetadata(image, page, meta)
    ):
        return None
    across, down = meta.width, meta.height
    if not 0 < across * down <= most:
        return None
    to_shown = shown(page)
    corners = [  # of the image: its top left, top right and bottom left
        to_shown(matrix.a * x + matrix.c * y + matrix.e, matrix.b * x + matrix.d * y + matrix.f)
        for x, y in ((0, 1), (1, 1), (0, 0))
    ]
    orientation = turned(corners)
    if orientation is None or not covers(corners, page.get_size()):
        return None
    picture = embedded(page, image, meta, orientation)
    if picture is None:
        return None
    if orientation in SIDEWAYS:
        across, down = down, across
    (x0, x1), (y0, y1) = spans(corners)
    return picture, [[(x1 - x0) / across, 0, x0], [0, (y1 - y0) / down, y0]]


def shown(page: pdfium.PdfPage) -> Any:
    """The map from a page's own coordinates to points from the top left as it is shown."""
    rect = c.FS_RECTF()
    c.FPDF_GetPageBoundingBox(page, rect)
    width, height = rect.right - rect.left, rect.top - rect.bottom
    turn = c.FPDFPage_GetRotation(page) % 4  # quarters, clockwise

    def to_shown(x: float, y: float) -> tuple[float, float]:
        u, v = x - rect.left, rect.top - y
        return ((u, v), (height - v, u), (width - u, height - v), (v, width - u))[turn]

    return to_shown


def only_image(page: pdfium.PdfPage) -> Any:
    """The image of a page that has nothing else to be seen, None for any other page."""
    image = None
    count = c.FPDFPage_CountObjects(page)
    if not 0 < count <= OBJECTS_MAX:
        return None
    for index in range(count):
        found = c.FPDFPage_GetObject(page, index)
        kind = c.FPDFPageObj_GetType(found)
        if kind == c.FPDF_PAGEOBJ_IMAGE:
            if image is not None or clipped(found):
                return None
            image = found
        elif kind != c.FPDF_PAGEOBJ_TEXT or c.FPDFTextObj_GetTextRenderMode(found) != HIDDEN_TEXT:
            return None
    return image


def clipped(image: Any) -> bool:
    """Whether an image is shown in part."""
    path = c.FPDFPageObj_GetClipPath(image)
    return bool(path) and c.FPDFClipPath_CountPaths(path) > 0


def spans(corners: list[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The least and the largest x, and y, of an upright parallelogram's three corners."""
    (xs, ys) = zip(*corners, strict=True)
    return (min(xs), max(xs)), (min(ys), max(ys))


def turned(corners: list[tuple[float, float]]) -> int | None:
    """EXIF's orientation of an image whose corners are shown there; None if it is skewed."""
    (x0, y0), right, down = corners
    across = (right[0] - x0, right[1] - y0)  # along a row of the image, as it is shown
    along = (down[0] - x0, down[1] - y0)  # down a column
    size = max(map(abs, (*across, *along)))
    if size <= 0:
        return None
    if max(abs(across[1]), abs(along[0])) < 1e-3 * size:
        return {(1, 1): 1, (-1, 1): 2, (-1, -1): 3, (1, -1): 4}[sign(across[0]), sign(along[1])]
    if max(abs(across[0]), abs(along[1])) < 1e-3 * size:
        return {(1, 1): 5, (-1, 1): 6, (-1, -1): 7, (1, -1): 8}[sign(along[0]), sign(across[1])]
    return None


def sign(value: float) -> int:
    return 1 if value > 0 else -1


def covers(corners: list[tuple[float, float]], size: tuple[float, float]) -> bool:
    """Whether an image is all of a page, but for margins, and the page all of the image."""
    (x0, x1), (y0, y1) = spans(corners)
    width, height = size
    inside = min(x0, width - x1) >= -BEYOND * width and min(y0, height - y1) >= -BEYOND * height
    return inside and (x1 - x0) * (y1 - y0) >= COVERED * width * height


def embedded(page: Any, image: Any, meta: Any, orientation: int) -> bytes | None:
    """The image as a file: a JPEG as it is, any other as a TIFF (two colours) or a JPEG."""
    filters = [
        filter_of(image, index) for index in range(c.FPDFImageObj_GetImageFilterCount(image))
    ]
    if filters == ["DCTDecode"] and meta.colorspace in JPEG_SPACES:
        file = raw_data(image)
        frame = JPEG_FRAME.search(file[: 2**16])
        if file.startswith(b"\xff\xd8\xff") and frame and frame[1] in (b"\1", b"\3"):
            return file[:2] + exif(orientation) + file[2:]
    if "JPXDecode" in filters:
        return None
    found = c.FPDFImageObj_GetBitmap(image)
    if not found:
        return None
    bitmap = pdfium.PdfBitmap.from_raw(found)
    try:
        if (bitmap.width, bitmap.height) != (meta.width, meta.height):
            return None
        picture = bitmap.to_pil()
        if picture.mode not in ("L", "RGB"):
            picture = picture.convert("RGB")
        if orientation in TURNS:
            picture = picture.transpose(TURNS[orientation])
        if picture.mode == "L" and only_black_and_white(picture):
            tiff = io.BytesIO()
            picture.convert("1", dither=Image.Dither.NONE).save(tiff, "TIFF", compression="group4")
            return tiff.getvalue()
        return jpeg(picture)
    finally:
        bitmap.close()


def only_black_and_white(picture: Image.Image) -> bool:
    """Whether a grey picture has no other colours."""
    counts = picture.histogram()
    return counts[0] + counts[255] == sum(counts)


def filter_of(image: Any, index: int) -> str:
    """The name of one of an image's filters."""
    size = c.FPDFImageObj_GetImageFilter(image, index, None, 0)
    buffer = ctypes.create_string_buffer(size)
    c.FPDFImageObj_GetImageFilter(image, index, buffer, size)
    return buffer.value.decode("ascii", errors="replace")


def raw_data(image: Any) -> bytes:
    """An image's stream as it stands in the document."""
    size = c.FPDFImageObj_GetImageDataRaw(image, None, 0)
    buffer = ctypes.create_string_buffer(size)
    c.FPDFImageObj_GetImageDataRaw(image, buffer, size)
    return buffer.raw


def exif(orientation: int) -> bytes:
    """A segment of a JPEG that says so; as the first, it overrules the JPEG's own (which a PDF's
    reader does not look at)."""
    entry = struct.pack(">HHIHH", 274, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
