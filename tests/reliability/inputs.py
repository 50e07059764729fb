"""Inputs that are meant to do harm, made here: bombs, and good images with faults put into them."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageDraw

FORMATS = {  # Pillow's names, with what else it should write
    "jpeg": ("JPEG", {"quality": 80}),
    "progressive": ("JPEG", {"quality": 80, "progressive": True}),
    "png": ("PNG", {}),
    "palette": ("PNG", {}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "fax": ("TIFF", {"compression": "group4"}),
}
MODES = {"palette": "P", "fax": "1"}


def page(width: int = 240, height: int = 320) -> Image.Image:
    """A small page with lines on it."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for y in range(10, height - 20, 14):
        draw.line((12, y, width - 12 - (y * 7) % 60, y), fill=(y % 90, 40, 60), width=3)
    return image


def files() -> dict[str, bytes]:
    """A good file of each format."""
    found = {}
    for name, (kind, options) in FORMATS.items():
        buffer = io.BytesIO()
        page().convert(MODES.get(name, "RGB")).save(buffer, kind, **options)
        found[name] = buffer.getvalue()
    return found


def mutated(seed: int) -> Iterator[tuple[str, bytes]]:
    """Formats and files without end, each with faults: bits, bytes, cuts, repeats, other ends."""
    draw = random.Random(seed)
    good = list(files().items())
    while True:
        name, content = draw.choice(good)
        data = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 5, 20))):
            at = draw.randrange(len(data)) if draw.random() < 0.5 else draw.randrange(64)
            at = min(at, len(data) - 1)
            match draw.randrange(6):
                case 0:
                    data[at] ^= 1 << draw.randrange(8)
                case 1:
                    data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 2:
                    data[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff"))
                case 3:
                    del data[at + 1 :]
                case 4:
                    data[at:at] = data[at : at + draw.randrange(1, 400)]
                case 5:
                    data[at:] = draw.choice(good)[1][at:]
            data = data or bytearray(b"\0")
        yield name, bytes(data)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG's chunk."""
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG that says so and has these bytes of rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands in it `count` times."""
    buffer = io.BytesIO()
    page(1600, 1200).save(buffer, "JPEG", quality=50, progressive=True)
    data = buffer.getvalue()
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


def empty_scans(count: int) -> bytes:
    """A progressive JPEG with `count` scans that say nothing: a few bytes each."""
    buffer = io.BytesIO()
    page(4000, 4000).convert("L").save(buffer, "JPEG", quality=50, progressive=True)
    data = buffer.getvalue()
    end = data.rfind(b"\xff\xd9")
    scan = bytes.fromhex("ffda00080101003f3f10") + b"\x00"  # successive approximation of the last
    return data[:end] + scan * count + data[end:]


def webp(width: int, height: int) -> bytes:
    """34 bytes that say that they are a lossless WebP of this size."""
    bits = 0x2F | (width - 1) << 8 | (height - 1) << 22
    body = bits.to_bytes(5, "little") + bytes(9)
    riff = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(riff)) + riff


def tiff(width: int, height: int) -> bytes:
    """A TIFF of one deflated strip of white that is a thousandth of its size."""
    strip = zlib.compress(b"\xff" * (width * height), 9)
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, 8 + 2 + 12 * 9 + 4),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(strip)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + strip


def bombs() -> dict[str, bytes]:
    """Small files that ask for much memory or time."""
    return {
        "png 1 x 100,000,000": png(1, 100_000_000, zlib.compress(bytes(10**6))),
        "png 30,000 x 30,000": png(30_000, 30_000, zlib.compress(bytes(10**7))),
        "webp 16,383 x 16,383": webp(16_383, 16_383),
        "jpeg of 400 scans": scans(400),
        "jpeg of empty scans": empty_scans(20_000),
        "tiff 9,000 x 9,000": tiff(9_000, 9_000),
        "tiff 1 x 50,000,000": tiff(1, 50_000_000),
        "zeros": bytes(5_000_000),
    }
