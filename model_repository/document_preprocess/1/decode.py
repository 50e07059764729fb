"""Encoded image -> uint8 pixels as a person sees the page.

Pillow reads the header, so that limits are checked before anything is decoded. JPEG pixels come
from OpenCV (twice as fast, and able to decode at a fraction of the size), all others from Pillow,
which knows palettes, alpha, CMYK, 16 bits and fax compression. Only a TIFF has pages: of an
animated PNG or WebP, and of a photo's several views (MPO), the first picture is the one page.

The two preprocess steps carry this file each, since a step may read only its own directory.
"""

import base64
import binascii
import io
import os
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
MAX_BYTES = int(os.environ.get("COUNTERSIGN_MAX_IMAGE_BYTES", 32 * 2**20))
MAX_PIXELS = int(os.environ.get("COUNTERSIGN_MAX_IMAGE_PIXELS", 100_000_000))
ORIENTATION = 0x0112  # EXIF tag
QUARTER_TURNS = (5, 6, 7, 8)  # its values that swap width and height
JPEG_FLAGS = {  # fraction of the size at which the decoder works: (colour, grey)
    8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    1: (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
}

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked here, with the value in the message
cv2.setNumThreads(1)  # parallelism is across requests


class Encoded(NamedTuple):
    """One page of an image file, nothing decoded yet."""

    file: bytes
    header: Image.Image  # at that page
    size: tuple[int, int]  # width, height, upright
    page_count: int  # pages in the file


def open_image(sent: bytes, page: object = 1) -> Encoded:
    """Page `page`, from 1, of an image file or its base64 text.

    Raises ValueError if `sent` is neither, is empty, or is over MAX_BYTES or MAX_PIXELS, or if
    `page` is no whole number or none of its pages.
    """
    if not sent:
        raise ValueError("image: 0 bytes, an image file is needed")
    if len(sent) > MAX_BYTES * 4 // 3 + 4:
        raise ValueError(f"image: {len(sent)} bytes, limit {MAX_BYTES}")
    header = _header(sent)
    if header is None:
        file = _base64_decoded(sent)
        header = _header(file)
    else:
        file = sent
    if header is None:
        raise ValueError(
            f"image: {len(sent)} bytes beginning {sent[:8]!r}, "
            f"neither a {', '.join(FORMATS)} file nor the base64 text of one"
        )
    if len(file) > MAX_BYTES:
        raise ValueError(f"image: {len(file)} bytes, limit {MAX_BYTES}")
    page_count = header.n_frames if header.format == "TIFF" else 1
    if isinstance(page, bool) or not isinstance(page, int) or not 1 <= page <= page_count:
        raise ValueError(
            f"parameter page: {page!r}, limit a whole number 1 to {page_count}, "
            f"the pages of this {header.format} file"
        )
    if page > 1:
        header.seek(page - 1)
    width, height = header.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"image: {width} x {height} pixels, limit {MAX_PIXELS} pixels")
    turned = header.getexif().get(ORIENTATION, 1) in QUARTER_TURNS
    return Encoded(file, header, (height, width) if turned else (width, height), page_count)


def read_pixels(image: Encoded, shrink: float, grey: bool) -> np.ndarray:
    """Upright pixels, (H, W) grey or (H, W, 3) RGB uint8; a grey file stays (H, W).

    A JPEG may come at 1/2, 1/4 or 1/8 of its size, as long as that is at least `shrink`, the factor
    (0, 1] by which the caller is going to scale it. Raises ValueError if the file is cut short or
    damaged, or holds samples of more than 16 bits.
    """
    file, header = image.file, image.header
    try:
        if header.format == "JPEG":
            return _read_jpeg(file, header, shrink, grey)
        return _read_other(ImageOps.exif_transpose(header), grey)
    except (OSError, SyntaxError, EOFError) as error:  # Pillow's signs of a damaged file
        raise ValueError(f"image: {len(file)} bytes of {header.format}, {error}") from error


def _header(file: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(file), formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError):
        return None


def _base64_decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return b""


def _read_jpeg(file: bytes, header: Image.Image, shrink: float, grey: bool) -> np.ndarray:
    grey = grey or header.mode == "L"
    flags = next(flags for n, flags in JPEG_FLAGS.items() if n == 1 or n * shrink <= 1)
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), flags[grey])  # applies the orientation
    if pixels is None:
        raise ValueError(f"image: {len(file)} bytes of JPEG, cut short or damaged")
    return pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _read_other(header: Image.Image, grey: bool) -> np.ndarray:
    if header.mode.startswith("I;16"):
        return (np.asarray(header) >> 8).astype(np.uint8)
    if header.mode in ("I", "F"):
        raise ValueError(f"image: samples of 32 bits (Pillow mode {header.mode}), limit 16 bits")
    if header.has_transparency_data:  # on white, as paper
        header = header.convert("RGBA")
        header = Image.alpha_composite(Image.new("RGBA", header.size, "white"), header)
    return np.asarray(header.convert("L" if grey or header.mode in ("1", "L") else "RGB"))
