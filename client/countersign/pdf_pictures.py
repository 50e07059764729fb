"""Image files of pages, made by Pillow: upright JPEGs, of a size that was asked for."""

import io
from typing import Any

from PIL import Image, UnidentifiedImageError

JPEG_QUALITY = 90
UNKNOWN_DPI = 150  # of an image that does not say its own
NO_DPI = 72  # what is said, by files and by Pillow, when nothing is known
ORIENTATION = 274  # EXIF's tag
SIDEWAYS = (5, 6, 7, 8)  # EXIF's orientations that swap width and height
TURNS = {  # of Pillow, by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refused(Exception):
    """Why there is no answer; `what` is what was too large, if that is it."""

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.fields = {"refused": detail, **extra}


def jpeg(image: Image.Image) -> bytes:
    """`image` as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def image_picture(data: bytes, number: int, dpi: float, most: int) -> bytes:
    """A page of a TIFF, or of any image that Pillow reads, upright and as a JPEG."""
    try:
        image = Image.open(io.BytesIO(data))
        image.seek(number - 1)
        check_pixels(f"page {number}:", image.width, image.height, most)
        own_dpi = float(image.info.get("dpi", (0, 0))[0])
        scale = dpi / (own_dpi if own_dpi > NO_DPI else UNKNOWN_DPI)
        return resized(image, image.width * scale, image.height * scale)
    except EOFError as error:
        raise Refused(f"page: {number}, the file has fewer", kind="number") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refused(f"page {number}: cannot be read: {error}", kind="unreadable") from error


def scan_picture(scan: bytes, matrix: list, dpi: float) -> bytes:
    """A scan of a PDF's page as a JPEG at `dpi` of that page."""
    image = Image.open(io.BytesIO(scan))
    (across, _, _), (_, down, _) = matrix  # points for a pixel, upright
    if image.getexif().get(ORIENTATION, 1) in SIDEWAYS:
        across, down = down, across
    return resized(image, image.width * across * dpi / 72, image.height * down * dpi / 72)


def resized(image: Image.Image, width: float, height: float) -> bytes:
    """`image` upright and as a JPEG, of that size before it is turned, or its own if smaller."""
    size = max(1, round(width)), max(1, round(height))
    orientation = image.getexif().get(ORIENTATION, 1)
    if size[0] < image.width:
        image.draft("RGB", size)  # a JPEG is decoded smaller
        if image.mode not in ("L", "RGB"):
            image = image.convert("RGB")
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return jpeg(image.transpose(TURNS[orientation]) if orientation in TURNS else image)


def check_pixels(where: str, width: int, height: int, most: int) -> None:
    """Raises Refused for more than `most` pixels."""
    if width * height > most:
        raise Refused(
            f"{where} {width * height} pixels, limit {most}",
            kind="pixels",
            value=width * height,
            limit=most,
        )
