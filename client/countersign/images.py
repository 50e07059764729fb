"""Any image a caller may hold -> the bytes of an image file, which is what travels."""

import os
import stat
import struct
import zlib

import numpy as np
import numpy.typing as npt

from countersign.errors import Refused

Image = bytes | str | os.PathLike[str] | npt.NDArray[np.uint8]

MOST_BYTES = 2**30  # of an image file: the largest limit that a server may have
IRREGULAR = (  # what may have no end, or no bytes
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)
PNG_COLOUR = {2: 0, 3: 2}  # dimensions of the array: PNG colour type, grey or RGB
FILTER_UP = 2  # each row minus the row above
FASTEST = 1  # zlib level


def encoded(image: Image) -> bytes:
    """The bytes of an image file: `image` itself, the file at that path, or the array as PNG.

    An array is (H, W) grey or (H, W, 3) RGB, uint8. Raises Refused for a file that cannot be
    read or is no regular one, and for an array of another dtype or shape.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, np.ndarray):
        return png(image)
    if not isinstance(image, (str, os.PathLike)):
        raise Refused(f"image: {type(image).__name__}, expected bytes, a path or a numpy array")
    try:
        if reason := not_read(os.stat(image)):
            raise Refused(f"image: {os.fspath(image)}: {reason}")
        with open(image, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise Refused(f"image: {os.fspath(image)}: {getattr(error, 'strerror', error)}") from error


def not_read(status: os.stat_result) -> str | None:
    """Why a file of this status is not read; None if it is."""
    for is_kind, kind in IRREGULAR:
        if is_kind(status.st_mode):
            return f"{kind}, expected a file"
    if status.st_size > MOST_BYTES:
        return f"{status.st_size} bytes, limit {MOST_BYTES}"
    return None


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file (W3C PNG, third edition) of (H, W) grey or (H, W, 3) RGB uint8 pixels.

    PNG and not BMP, whose 26 MB for an A4 page at 300 dpi near the server's limit: with the Up
    filter and zlib's fastest level such a scan takes 1.5 to 4 MB and 0.15 s. Raises Refused for
    another dtype or shape.
    """
    if pixels.dtype != np.uint8:
        raise Refused(f"image: array of {pixels.dtype}, expected uint8")
    if pixels.ndim not in PNG_COLOUR or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise Refused(f"image: array of shape {pixels.shape}, expected (H, W) or (H, W, 3)")
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR[pixels.ndim], 0, 0, 0)
    rows = pixels.reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), FILTER_UP, np.uint8)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    data = zlib.compress(filtered.data, FASTEST)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
