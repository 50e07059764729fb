"""Detections drawn on their pages."""

import io
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from countersign.messages import Detection, Detections

COLOURS = {"signature": (0, 90, 200), "stamp": (200, 30, 60)}
OTHER = (0, 120, 60)  # for a class that this client does not know
JPEG_QUALITY = 90
SUBFILE_TYPE, REDUCED = 254, 1  # TIFF 6.0: NewSubfileType, and its bit for a smaller copy


def annotate(page: Path | bytes, detections: Detections, picture: Path) -> None:
    """Write `page` with its boxes as the JPEG `picture`: same size, turned as a person sees it.

    `page` is a file or its bytes, of several pages that of the detections. Raises OSError if it
    cannot be read or `picture` cannot be written.
    """
    with Image.open(io.BytesIO(page) if isinstance(page, bytes) else page) as image:
        if detections.page_count > 1:
            turn_to(cast(TiffImageFile, image), detections.page)
        canvas = _paper(ImageOps.exif_transpose(image))
    draw = ImageDraw.Draw(canvas)
    line = max(2, max(canvas.size) // 500)  # pixels
    for detection in reversed(list(detections)):  # the best on top
        _draw(draw, detection, canvas.width, line)
    picture.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(picture, "JPEG", quality=JPEG_QUALITY, subsampling=0)  # thin lines keep colour


def turn_to(image: TiffImageFile, page: int) -> None:
    """Seeks `page`, from 1, of a TIFF; reduced images of other pages do not count."""
    for frame in range(getattr(image, "n_frames", 1)):
        image.seek(frame)
        page -= not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED
        if not page:
            return
    raise OSError(f"{page} pages more than the file has")


def _paper(image: Image.Image) -> Image.Image:
    """`image` as RGB: 16 bits scaled down, what is transparent white."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


def _draw(draw: ImageDraw.ImageDraw, detection: Detection, page_width: int, line: int) -> None:
    """One box, its class and score on a strip above it, or below its top edge if no room."""
    colour = COLOURS.get(detection.label, OTHER)
    draw.rectangle(detection.box, outline=colour, width=line)
    text, font = f"{detection.label} {detection.score:.2f}", ImageFont.load_default(8 * line)
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    x = max(0, min(detection.box[0], page_width - width))
    y = detection.box[1] - height if detection.box[1] >= height else detection.box[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + line - left, y + line - top), text, "white", font)
