"""What an image file says of itself, read before anything is decoded: size, pages, orientation.

The functions raise ValueError with the reason where a file breaks off or says nothing that pixels
could be made of. EXIF and XMP that cannot be read count as absent.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
}
MAX_PARTS = 100_000  # segments of a JPEG, chunks of a PNG or WebP
MAX_DIRECTORIES = 10_000  # of a TIFF
MAX_ENTRIES = 200  # of a directory
MAX_XMP_BYTES = 2**20

ORIENTATION = 274  # tag of EXIF and TIFF
XMP = 700  # tag of TIFF
XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\b")

JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # but for those inside a scan's data
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
JPEG_SCAN, JPEG_END, JPEG_EXIF = 0xDA, 0xD9, 0xE1
COEFFICIENT_BYTES = 2  # kept of a JPEG of several scans
COEFFICIENTS_PER_BYTE = 6  # that a scan goes through while another format decodes a byte

PNG_OLD_EXIF = b"Raw profile type exif\0"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
WEBP_PIXEL_BYTES = 8  # the decoder's RGBA, and a copy
BMP_PIXEL_BYTES = 6  # the decoder's RGB, and a copy
GIF_PIXEL_BYTES = 12  # the decoder's RGBA twice, and a copy
GIF_PICTURE, GIF_EXTENSION, GIF_END = b",", b"!", b";"
MAX_BLOCKS = 200_000  # of a GIF, of up to 255 bytes each

INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}  # TIFF types
TIFF_TAGS = {  # what pixels are made from; the decoder is given no others
    256: "ImageWidth",
    257: "ImageLength",
    258: "BitsPerSample",
    259: "Compression",
    262: "PhotometricInterpretation",
    266: "FillOrder",
    273: "StripOffsets",
    277: "SamplesPerPixel",
    278: "RowsPerStrip",
    279: "StripByteCounts",
    284: "PlanarConfiguration",
    292: "T4Options",
    293: "T6Options",
    317: "Predictor",
    320: "ColorMap",
    322: "TileWidth",
    323: "TileLength",
    324: "TileOffsets",
    325: "TileByteCounts",
    332: "InkSet",
    338: "ExtraSamples",
    339: "SampleFormat",
    347: "JPEGTables",
    529: "YCbCrCoefficients",
    530: "YCbCrSubSampling",
    531: "YCbCrPositioning",
    532: "ReferenceBlackWhite",
}
NO_INTEGERS = (347, 529, 532)
TILE_BYTES = 1000  # decoded in the time that the next tile takes to begin
YCBCR, JPEG_IN_TIFF = 6, 7  # a photometric interpretation, a compression
DEFLATE = (8, 32946)  # compressions
BITS = (1, 2, 4, 8, 16, 32, 64)  # of a sample, that the decoder takes; 32 and 64 it then refuses
REVERSED = 2  # FillOrder
STRIPS, TILES = (273, 279), (324, 325)  # tags: where they are, and of how many bytes
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}  # by photometric interpretation


class Header(NamedTuple):
    """One page of a file; width and height as stored, before `orientation`."""

    width: int
    height: int
    decoded_bytes: int  # what decoding holds in memory, or as much work as going through that
    orientation: int = 1  # as in EXIF, 1 to 8
    page_count: int = 1
    channels: int = 3  # of a JPEG
    has_alpha: bool = True  # whether channels beyond the colours are opacity
    file: bytes = b""  # for the decoder: the whole file, or this page alone
    deflated: tuple[slice, ...] = ()  # data of a TIFF whose checksums its decoder does not look at
    frame: tuple[int, int, int, int] = (0, 0, 0, 0)  # of a GIF's picture: left, top, width, height
    in_white: bytes = b""  # that picture with white for all its colours: what it paints


class Layout(NamedTuple):
    """How numbers are written in a TIFF: struct formats."""

    order: str
    length: str = "H"  # of a directory, in entries
    entry: str = "HHI4s"
    offset: str = "I"


Entry = tuple[int, int, bytes]  # type, number of values, the values or where they are
Directory = dict[int, Entry]  # by tag


def format_of(file: bytes) -> str | None:
    """A key of SIGNATURES, None for a file of another format."""
    for name, signature in SIGNATURES.items():
        if re.match(signature, file, re.DOTALL):
            return name
    return None


def read_header(file: bytes, name: str, page: int = 1) -> Header:
    """Page `page`, from 1, or the last, of a file of the format `name`.

    Only a TIFF has pages: of an animated PNG, WebP or GIF, and of a photo's several views (MPO),
    the first picture is the page.
    """
    try:
        if name == "TIFF":
            return _tiff(file, page)
        if name == "GIF":
            return _gif(file)
        header = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "BMP": _bmp}[name](file)
    except (struct.error, OverflowError) as error:  # an offset that is behind the end
        raise ValueError("cut short in its header") from error
    return header._replace(file=file)


def orientation(exif: bytes, xmp: bytes) -> int:
    """1 to 8: what EXIF says, else XMP, else 1. Either may be empty or garbage."""
    while exif.startswith(b"Exif\0\0"):  # some writers put it twice
        exif = exif[6:]
    try:
        layout, at = _layout(exif)
        directory, _ = _directory(exif, layout, at)
        return _turned(_number(exif, layout, directory.get(ORIENTATION)), xmp)
    except (ValueError, struct.error, OverflowError):
        return _turned(None, xmp)


def _turned(value: int | None, xmp: bytes) -> int:
    if value is not None and 1 <= value <= 8:
        return value
    found = XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def _jpeg(file: bytes) -> Header:
    exif = xmp = frame = b""
    progressive, scans = False, []
    for marker, body in _jpeg_segments(file):
        if marker == JPEG_EXIF and body.startswith(b"Exif\0\0"):
            exif = exif or body
        elif marker == JPEG_EXIF and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = xmp or body
        elif marker in JPEG_FRAMES:
            frame, progressive = body, marker in JPEG_PROGRESSIVE
        elif marker == JPEG_SCAN and body:
            scans.append(body)
    height, width, channels = struct.unpack_from(">HHB", frame, 1)
    parts = [struct.unpack_from("BB", frame, 6 + 3 * channel) for channel in range(channels)]
    sampling = {part: (by >> 4) * (by & 15) for part, by in parts}
    _check_scans(scans, list(sampling), progressive)
    most = max([*sampling.values(), 1])
    coefficients = {part: width * height * by / most for part, by in sampling.items()}
    decoded = width * height * channels
    if progressive or len(scans) > 1:
        held = COEFFICIENT_BYTES * sum(coefficients.values())
        seen = sum(
            coefficients.get(part, 0) for scan in scans for part in scan[1 : 2 * scan[0] : 2]
        )
        decoded = int(max(decoded, held, seen / COEFFICIENTS_PER_BYTE))
    return Header(width, height, decoded, orientation(exif, xmp), channels=channels)


def _check_scans(scans: list[bytes], parts: list[int], progressive: bool) -> None:
    """ValueError unless the scans bring all there is of each part (colour) of a JPEG.

    A decoder makes up what they leave out: a file cut between two scans looks whole to it.
    """
    whole = {part: 0 for part in parts}  # bits: the coefficients whose lowest bit is there
    for scan in scans:
        count = scan[0]
        first, last, step = struct.unpack_from("BBB", scan, 1 + 2 * count)
        if not progressive:
            first, last, step = 0, 63, 0
        there = (1 << max(0, min(last, 63) + 1 - first) << first) - (1 << first)
        for part in scan[1 : 1 + 2 * count : 2]:
            if part in whole and not step & 15:  # else finer bits are to follow
                whole[part] |= there
    if missing := sum(64 - bits.bit_count() for bits in whole.values()):
        raise ValueError(f"cut short: {missing} of {64 * len(whole)} coefficients are in no scan")


def _jpeg_segments(file: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the first picture's segments, without the data of its scans."""
    at = 2
    for _ in range(MAX_PARTS):
        found = JPEG_MARKER.search(file, at)
        if not found or (marker := file[found.end() - 1]) == JPEG_END:
            return
        at = found.end()
        if marker in (0x01, 0xD8):  # these stand alone
            continue
        (length,) = struct.unpack_from(">H", file, at)
        yield marker, file[at + 2 : at + length]
        at += length
    raise ValueError(f"over {MAX_PARTS} segments")


def _png(file: bytes) -> Header:
    kind, width, height, depth, colour = struct.unpack_from(">4sIIBB", file, 12)
    if kind != b"IHDR":
        raise ValueError(f"begins with {kind!r} in place of its header, IHDR")
    if colour not in PNG_CHANNELS:
        raise ValueError(f"colour type {colour}, which there is not")
    exif = xmp = b""
    for kind, body in _png_chunks(file):
        if kind == b"eXIf":
            exif = exif or body
        elif kind in (b"tEXt", b"zTXt") and body.startswith(PNG_OLD_EXIF):
            exif = exif or _png_old_exif(kind, body[len(PNG_OLD_EXIF) :])
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            xmp = xmp or _png_text(body)
    decoded = width * height * PNG_CHANNELS[colour] * max(8, depth) // 8
    return Header(width, height, decoded, orientation(exif, xmp))


def _png_chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of all chunks that are whole but for the pixels' own."""
    at = 8
    for _ in range(MAX_PARTS):
        if at + 12 > len(file):
            return
        size, kind = struct.unpack_from(">I4s", file, at)
        if kind == b"IEND":
            return
        if kind != b"IDAT":
            yield kind, file[at + 8 : at + 8 + size]
        at += 12 + size
    raise ValueError(f"over {MAX_PARTS} chunks")


def _png_old_exif(kind: bytes, text: bytes) -> bytes:
    """EXIF as writers had it before there was eXIf: a name, a length, hexadecimal digits."""
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], MAX_XMP_BYTES)
        return bytes.fromhex("".join(text.decode("ascii").split()[2:]))
    except (zlib.error, ValueError):
        return b""


def _png_text(body: bytes) -> bytes:
    """The text of an iTXt chunk: keyword, 0, packed, how, language, 0, translation, 0, text."""
    _, rest = body.split(b"\0", 1)
    text = rest[2:].split(b"\0", 2)[-1]
    if not rest.startswith(b"\1"):
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_XMP_BYTES)
    except zlib.error:
        return b""


def _webp(file: bytes) -> Header:
    exif = xmp = b""
    size = None
    for kind, body in _webp_chunks(file):
        if size is None:
            size = _webp_size(kind, body)
        if kind == b"EXIF":
            exif = exif or body
        elif kind == b"XMP ":
            xmp = xmp or body
    if size is None:
        raise ValueError("no picture in it")
    width, height = size
    return Header(width, height, width * height * WEBP_PIXEL_BYTES, orientation(exif, xmp))


def _webp_chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(file):
            return
        kind, size = struct.unpack_from("<4sI", file, at)
        yield kind, file[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise ValueError(f"over {MAX_PARTS} chunks")


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Width and height where a chunk says them."""
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<6xHH", body)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<xI", body)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _bmp(file: bytes) -> Header:
    (size,) = struct.unpack_from("<I", file, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", file, 18)
    return Header(width, abs(height), width * abs(height) * BMP_PIXEL_BYTES)  # top down if < 0


def _gif(file: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", file, 6)
    at = 13 + _gif_colours(flags)
    in_white = file[:13].ljust(at, b"\xff")
    blocks = 0
    while (kind := file[at : at + 1]) in (GIF_PICTURE, GIF_EXTENSION):
        if kind == GIF_PICTURE:
            *frame, flags = struct.unpack_from("<HHHHB", file, at + 1)
            data = at + 10 + _gif_colours(flags)
            in_white += file[at : at + 10].ljust(data - at, b"\xff")
            at = data + 1  # over the bits of a code
        else:
            at += 2
        while size := file[at : at + 1]:
            at += 1 + size[0]
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise ValueError(f"over {MAX_BLOCKS} blocks")
            if not size[0]:
                break
        else:
            raise ValueError("cut short")
        if kind == GIF_PICTURE:  # the decoder is not given those that follow
            return Header(
                width,
                height,
                width * height * GIF_PIXEL_BYTES,
                file=file[:at] + GIF_END,
                frame=tuple(frame),
                in_white=in_white + file[data:at] + GIF_END,
            )
    raise ValueError("no picture in it")


def _gif_colours(flags: int) -> int:
    """The bytes of the table of colours that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(file: bytes, page: int) -> Header:
    layout, first = _layout(file)
    pages = _tiff_pages(file, layout, first)
    directory, _ = _directory(file, layout, pages[min(page, len(pages)) - 1])
    numbers = {tag: _number(file, layout, entry) for tag, entry in directory.items()}
    for tag in TIFF_TAGS.keys() & numbers.keys() - NO_INTEGERS:
        if numbers[tag] is None:
            kind = directory[tag][0]
            raise ValueError(f"its {TIFF_TAGS[tag]} are of type {kind}, not whole numbers")
    width, height = numbers.get(256) or 0, numbers.get(257) or 0
    if not width or not height:
        raise ValueError("no ImageWidth or ImageLength")
    if numbers.get(262) == YCBCR and numbers.get(259) != JPEG_IN_TIFF:
        raise ValueError("YCbCr that is not JPEG")
    if (bits := numbers.get(258) or 1) not in BITS:
        raise ValueError(f"samples of {bits} bits, limit 1, 2, 4, 8 or 16")
    tile = (numbers.get(322) or width) * (numbers.get(323) or height)
    tiles = width * height // max(1, tile)
    channels = numbers.get(277) or 1
    extra = 0 if 338 in directory else channels - COLOURS.get(numbers.get(262) or 0, channels)
    xmp = _content(file, layout, directory.get(XMP))
    return Header(
        width,
        height,
        max(width * height, tile) * max(8, bits * channels) // 8 + tiles * TILE_BYTES,
        _turned(numbers.get(ORIENTATION), xmp),
        len(pages),
        has_alpha=numbers.get(338) in (1, 2),  # ExtraSamples may be something else
        file=_alone(file, layout, directory, extra),
        deflated=_deflated(file, layout, directory, numbers),
    )


def _tiff_pages(tiff: bytes, layout: Layout, at: int) -> list[int]:
    """Where the directories are that are pages, and no smaller versions or masks of one.

    Where all say that they are smaller versions, those of over half the largest's area are pages.
    """
    areas: dict[int, int] = {}
    pages = []
    while at:
        if at in areas or len(areas) == MAX_DIRECTORIES:
            raise ValueError(f"its directories go in a circle, or are over {MAX_DIRECTORIES}")
        directory, end = _directory(tiff, layout, at)
        numbers = [_number(tiff, layout, directory.get(tag)) or 0 for tag in (254, 255, 256, 257)]
        kind, old_kind, width, height = numbers  # NewSubfileType is bits, SubfileType is not
        areas[at] = width * height
        if not kind & 0b101 and old_kind != 2:
            pages.append(at)
        (at,) = struct.unpack_from(layout.order + layout.offset, tiff, end)
    if not areas:
        raise ValueError("no directory in it")
    return pages or [at for at, area in areas.items() if area * 2 > max(areas.values())]


def _layout(tiff: bytes) -> tuple[Layout, int]:
    """How a TIFF is written and where its first directory is. ValueError for what is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "")
    version = struct.unpack_from(f"{order}H", tiff, 2)[0] if order else None
    if version == 42:
        return Layout(order), *struct.unpack_from(f"{order}I", tiff, 4)
    if version == 43:  # BigTIFF
        return Layout(order, "Q", "HHQ8s", "Q"), *struct.unpack_from(f"{order}Q", tiff, 8)
    raise ValueError(f"begins {tiff[:4]!r}, no TIFF")


def _directory(tiff: bytes, layout: Layout, at: int) -> tuple[Directory, int]:
    """The directory at `at`, as far as it goes, and where it ends. The first of a tag counts."""
    order, count, entry, _ = layout
    (number,) = struct.unpack_from(order + count, tiff, at)
    if number > MAX_ENTRIES:
        raise ValueError(f"a directory of {number} entries, limit {MAX_ENTRIES}")
    start, size = at + struct.calcsize(order + count), struct.calcsize(order + entry)
    there = (len(tiff) - start) // size
    entries = struct.iter_unpack(order + entry, tiff[start : start + min(number, there) * size])
    directory: Directory = {}
    for tag, *rest in entries:
        directory.setdefault(tag, tuple(rest))
    return directory, start + number * size


def _number(tiff: bytes, layout: Layout, entry: Entry | None) -> int | None:
    """An entry's first whole number; None if it is of another type, or not there."""
    if entry is None or entry[0] not in INTEGERS or not entry[1]:
        return None
    kind, count, value = entry
    if struct.calcsize(INTEGERS[kind]) * count > len(value):
        (at,) = struct.unpack(layout.order + layout.offset, value)
        return struct.unpack_from(layout.order + INTEGERS[kind], tiff, at)[0]
    return struct.unpack_from(layout.order + INTEGERS[kind], value)[0]


def _content(tiff: bytes, layout: Layout, entry: Entry | None) -> bytes:
    """An entry of single bytes that are not written in its place."""
    if entry is None:
        return b""
    (at,) = struct.unpack(layout.order + layout.offset, entry[2])
    return tiff[at : at + min(entry[1], MAX_XMP_BYTES)]


def _deflated(
    tiff: bytes, layout: Layout, directory: Directory, numbers: dict[int, int | None]
) -> tuple[slice, ...]:
    """Where a page's strips or tiles are in the file, if they are zlib's."""
    if numbers.get(259) not in DEFLATE or numbers.get(266) == REVERSED:
        return ()
    tiles = TILES if TILES[0] in directory else STRIPS
    places = [_numbers(tiff, layout, directory.get(tag)) for tag in tiles]
    return tuple(slice(at, at + size) for at, size in zip(*places, strict=False))


def _numbers(tiff: bytes, layout: Layout, entry: Entry | None) -> tuple[int, ...]:
    """An entry's whole numbers."""
    if entry is None or entry[0] not in INTEGERS:
        return ()
    kind, count, value = entry
    at = 0
    if struct.calcsize(INTEGERS[kind]) * count > len(value):
        (at,), value = struct.unpack(layout.order + layout.offset, value), tiff
    return struct.unpack_from(f"{layout.order}{count}{INTEGERS[kind]}", value, at)


def _alone(tiff: bytes, layout: Layout, directory: Directory, extra: int) -> bytes:
    """A TIFF of this one directory, cut down to TIFF_TAGS: put behind the file's other bytes.

    One or two `extra` channels that the directory does not tell of, it then does.
    """
    order, count, entry, offset = layout
    if extra in (1, 2):
        directory = directory | {338: (3, extra, bytes(struct.calcsize(order + offset)))}
    entries = [(tag, *directory[tag]) for tag in sorted(TIFF_TAGS.keys() & directory.keys())]
    start = struct.calcsize(order + offset)  # where the header says where the directory is
    added = b"".join(
        [
            b"\0" * (len(tiff) % 2),
            struct.pack(order + count, len(entries)),
            *(struct.pack(order + entry, *fields) for fields in entries),
            struct.pack(order + offset, 0),
        ]
    )
    at = struct.pack(order + offset, len(tiff) + len(tiff) % 2)
    return b"".join([tiff[:start], at, tiff[start + len(at) :], added])
