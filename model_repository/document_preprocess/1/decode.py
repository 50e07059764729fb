"""Encoded image -> uint8 pixels as a person sees the page.

header.py reads what a file says of itself, so that limits are checked before anything is decoded.
Each format has one decoder: libjpeg-turbo for JPEG, OpenCV for BMP, libvips for the others. All of
them refuse a file that they would have to guess pixels of. A page that is going to be shrunk a lot
comes at a whole fraction of its size, strip by strip, so that it is never in memory whole.
"""

import base64
import binascii
import os
import re
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

os.environ.setdefault("VIPS_CONCURRENCY", "1")  # parallelism is across requests

import cv2
import numpy as np
import pyvips
import simplejpeg
from header import SIGNATURES, Header, format_of, read_header

MAX_BYTES = int(os.environ.get("COUNTERSIGN_MAX_IMAGE_BYTES", 32 * 2**20))
MAX_PIXELS = int(os.environ.get("COUNTERSIGN_MAX_IMAGE_PIXELS", 100_000_000))
ALARM_S = int(os.environ.get("COUNTERSIGN_STEP_ALARM_S", 0))  # 0 for none
MAX_SIDE = 65_535  # px, a JPEG's
MAX_DECODED_BYTES = 320 * 2**20  # 100 megapixels in colour

COLOURS = {  # by libvips's interpretation, of samples of 8 and 16 bits
    "b-w": 1,
    "grey16": 1,
    "srgb": 3,
    "rgb": 3,
    "rgb16": 3,
    "cmyk": 4,
}
# Of libjpeg-turbo: bytes that it has no use for once all pixels are there, which are a writer's
# padding if they are zeros and few, else of damaged data; and shares of colour samples that its own
# interface has no name for, though libjpeg's, which libvips uses, reads them
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
MAX_PADDING = 16  # bytes
INFLATED_BYTES = 2**24  # at a time
UNUSUAL = "Could not determine subsampling"

cv2.setNumThreads(1)
cv2.setLogLevel(0)  # what it has to say is in the refusal
pyvips.cache_set_max(0)


@contextmanager
def in_time() -> Iterator[None]:
    """SIGALRM ends this process, whatever holds it up, where that takes longer than ALARM_S.

    From without a process that hangs looks like an idle one. A program that loads this step into
    its own process keeps its own alarms.
    """
    if not ALARM_S:
        yield
        return
    signal.alarm(ALARM_S)
    try:
        yield
    finally:
        signal.alarm(0)


class Encoded(NamedTuple):
    """One page of an image file, nothing decoded yet."""

    name: str  # how errors call it: image: 1234 bytes of PNG
    format: str
    header: Header

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self.header.width, self.header.height
        return (height, width) if self.header.orientation > 4 else (width, height)

    @property
    def page_count(self) -> int:
        return self.header.page_count


def open_image(sent: bytes, page: object = 1, max_pixels: int = MAX_PIXELS) -> Encoded:
    """Page `page`, from 1, of an image file or its base64 text.

    Raises ValueError if `sent` is neither, is empty, or is over a limit, or if `page` is no whole
    number or none of its pages.
    """
    if not sent:
        raise ValueError("image: 0 bytes, an image file is needed")
    if len(sent) > MAX_BYTES * 4 // 3 + 4:
        raise ValueError(f"image: {len(sent)} bytes, limit {MAX_BYTES}")
    file = sent if format_of(sent) else _base64_decoded(sent)
    format = format_of(file)
    if format is None:
        raise ValueError(
            f"image: {len(sent)} bytes beginning {sent[:8]!r}, "
            f"neither a {', '.join(SIGNATURES)} file nor the base64 text of one"
        )
    name = f"image: {len(file)} bytes of {format}"
    if len(file) > MAX_BYTES:
        raise ValueError(f"{name}, limit {MAX_BYTES}")
    number = page if isinstance(page, int) and not isinstance(page, bool) else 0
    try:
        header = read_header(file, format, max(1, number))
    except ValueError as error:
        raise ValueError(f"{name}, {error}") from error
    if not 1 <= number <= header.page_count:
        raise ValueError(
            f"parameter page: {page!r}, limit a whole number 1 to {header.page_count}, "
            f"the pages of this {format} file"
        )
    _check_limits(f"{name}, {header.width} x {header.height} pixels", header, max_pixels)
    return Encoded(name, format, header)


def _check_limits(image: str, header: Header, max_pixels: int) -> None:
    if header.width < 1 or header.height < 1:
        raise ValueError(f"{image}, none to look at")
    if header.width * header.height > max_pixels:
        raise ValueError(f"{image}, limit {max_pixels} pixels")
    if max(header.width, header.height) > MAX_SIDE:
        raise ValueError(f"{image}, limit {MAX_SIDE} a side")
    if header.decoded_bytes > MAX_DECODED_BYTES:
        raise ValueError(
            f"{image}, as much work as {header.decoded_bytes} decoded bytes, "
            f"limit {MAX_DECODED_BYTES}"
        )


def _base64_decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(None, b" \t\r\n\v\f"), validate=True)
    except binascii.Error:
        return b""


def read_pixels(image: Encoded, shrink: float, grey: bool) -> np.ndarray:
    """Upright pixels, (H, W) grey or (H, W, 3) RGB uint8; a grey file stays (H, W).

    `shrink` is the factor (0, 1] by which the caller is going to scale the page: it may come at a
    whole fraction of its size that is not below. Raises ValueError with the decoder's reason if
    the file is cut short or damaged, or holds samples that are not of 8 or 16 bits.
    """
    try:
        if image.format == "JPEG":
            pixels = _read_jpeg(image.header, shrink, grey)
        elif image.format == "BMP":
            pixels = _read_bmp(image.header, shrink)
        else:
            pixels = _read_vips(image.format, image.header, shrink)
    except ValueError as error:
        raise ValueError(f"{image.name}, {error}") from error
    except Exception as error:  # decoders' own have no base, and name their source files
        raise ValueError(f"{image.name}, {type(error).__name__} in its decoder") from error
    if grey and pixels.ndim == 3:
        pixels = _luma(pixels)
    return _upright(pixels, image.header.orientation)


def _read_jpeg(header: Header, shrink: float, grey: bool) -> np.ndarray:
    part = next(part for part in (8, 4, 2, 1) if part == 1 or part * shrink <= 1)
    inks = header.channels == 4
    options = {
        "colorspace": "CMYK" if inks else "GRAY" if grey or header.channels == 1 else "RGB",
        "min_height": -(-header.height // part),
        "min_width": -(-header.width // part),
        "fastdct": False,
        "fastupsample": False,
    }
    try:
        pixels = simplejpeg.decode_jpeg(header.file, **options, strict=True)
    except ValueError as error:
        if UNUSUAL in str(error):
            return _read_vips("JPEG", header, shrink)
        if not _is_padding(header.file, str(error)):
            raise
        pixels = simplejpeg.decode_jpeg(header.file, **options, strict=False)
    if pixels.shape[:2] != (options["min_height"], options["min_width"]):
        raise ValueError(f"of another size than {header.width} x {header.height} to its decoder")
    if inks:
        return _mixed(pixels)  # such files hold the light that is left, as Adobe began it
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _is_padding(file: bytes, complaint: str) -> bool:
    """Whether all that the decoder complains of are a few zeros before the end of a JPEG."""
    found = LEFT_OVER.search(complaint)
    count = int(found[1]) if found else 0
    return 0 < count <= MAX_PADDING and bytes(count) + b"\xff\xd9" in file


def _read_bmp(header: Header, shrink: float) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(header.file, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise ValueError("cut short or damaged")
    if (part := _part(shrink)) > 1:
        size = (-(-header.width // part), -(-header.height // part))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _read_vips(format: str, header: Header, shrink: float) -> np.ndarray:
    _check_deflated(header)
    load = getattr(pyvips.Image, f"{format.lower()}load_buffer")
    try:
        picture = load(header.file, access="sequential", fail_on="warning")
        if (picture.width, picture.height) != (header.width, header.height):
            raise ValueError(f"{picture.width} x {picture.height} pixels to its decoder")
        inks = picture.interpretation == "cmyk"
        picture = _on_white(_in_8_bits(picture), COLOURS[picture.interpretation], header.has_alpha)
        if header.in_white:
            picture = _where_painted(picture, header)
        if (part := _part(shrink)) > 1:
            picture = picture.shrink(part, part, ceil=True)
        pixels = picture.numpy()
    except pyvips.Error as error:
        reason = error.detail.strip().partition("\n")[0].rpartition(": ")[2]  # empty at a warning
        raise ValueError(f"cut short or damaged{': ' * bool(reason)}{reason}") from error
    return _mixed(255 - pixels) if inks else pixels


def _where_painted(picture: pyvips.Image, header: Header) -> pyvips.Image:
    """A GIF's picture, with paper around it if it is smaller than the page.

    ValueError if its data end before all of it is painted, which the decoder passes over.
    """
    painted = pyvips.Image.gifload_buffer(header.in_white)[0]
    if painted.crop(*header.frame).min() < 255:
        raise ValueError("cut short")
    return (painted == 255).ifthenelse(picture, 255)


def _check_deflated(header: Header) -> None:
    """ValueError if a TIFF's data do not match their checksums, which libtiff passes over.

    Looks at no more than twice the bytes that the page has decoded.
    """
    left = 2 * header.decoded_bytes
    for place in header.deflated:
        data, stream = header.file[place], zlib.decompressobj()
        while data and not stream.eof and left > 0:
            try:
                left -= len(stream.decompress(data, INFLATED_BYTES))
            except zlib.error as error:
                raise ValueError(f"cut short or damaged: {error}") from error
            data = stream.unconsumed_tail


def _part(shrink: float) -> int:
    """One over the fraction at which a page comes: at least twice the size that is needed."""
    return max(1, int(0.5 / shrink))


def _in_8_bits(picture: pyvips.Image) -> pyvips.Image:
    if picture.interpretation not in COLOURS or picture.format not in ("uchar", "ushort"):
        raise ValueError(
            f"samples of type {picture.format} ({picture.interpretation}), "
            "limit grey, RGB or CMYK of 1 to 16 bits"
        )
    return picture.msb() if picture.format == "ushort" else picture


def _on_white(picture: pyvips.Image, colours: int, has_alpha: bool) -> pyvips.Image:
    """The colours of an 8-bit picture, on paper where it is transparent."""
    if picture.bands == colours:
        return picture
    if not has_alpha or colours == 4:
        return picture[:colours]
    kind = "srgb" if colours == 3 else "b-w"
    return picture[: colours + 1].copy(interpretation=kind).flatten(background=255)


def _mixed(light: np.ndarray) -> np.ndarray:
    """(H, W, 4) what light cyan, magenta, yellow and black ink leave -> (H, W, 3) RGB."""
    return np.dstack([cv2.multiply(light[..., i], light[..., 3], scale=1 / 255) for i in range(3)])


def _luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB -> (H, W), ITU-R 601-2, rounded as Pillow's mode L."""
    return (rgb @ np.array([19595, 38470, 7471], np.uint32) + 0x8000 >> 16).astype(np.uint8)


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    turned = stored.swapaxes(0, 1) if orientation > 4 else stored
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)
