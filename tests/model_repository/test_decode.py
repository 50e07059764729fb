"""Every kind of file that scanners, phones and fax machines write, and every way to break one.

Pixels are compared with what the file was made from, or with what Pillow reads.
"""

import io
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

DATA = Path(__file__).with_name("data")
ORIENTATION = 274  # EXIF's tag
UPRIGHT = np.kron(np.arange(12).reshape(3, 4) * 20 + 10, np.ones((16, 16))).astype(np.uint8)
STORED_AS = {  # what a camera held that way has stored
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}
RAMP = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (40, 1))
COLOURS = np.dstack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 30_000)])


@pytest.fixture(scope="module")
def decode(step):
    """`decode(file, page=1, shrink=1, grey=False)` -> its pixels, as the steps read them."""
    served = step("document_preprocess")

    def decode(file: bytes, page: object = 1, shrink: float = 1, grey: bool = False) -> np.ndarray:
        image = served.open_image(file, page)
        pixels = served.read_pixels(image, shrink, grey)
        if shrink == 1:
            assert image.size == pixels.shape[1::-1]
        return pixels

    return decode


@pytest.fixture(scope="module")
def open_image(step):
    return step("document_preprocess").open_image


def file_of(pixels: np.ndarray | Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def exif(value: int, kind: str = "H", order: str = "<") -> bytes:
    """A block of EXIF that says nothing but an orientation, of TIFF type SHORT, LONG or BYTE."""
    types = {"B": 1, "H": 3, "I": 4}
    mark = b"II" if order == "<" else b"MM"
    field = struct.pack(order + kind, value).ljust(4, b"\0")
    return mark + struct.pack(f"{order}HIHHHI4sI", 42, 8, 1, ORIENTATION, types[kind], 1, field, 0)


def xmp(value: int) -> bytes:
    return b"<x:xmpmeta><rdf:Description tiff:Orientation='%d'/></x:xmpmeta>" % value


def old_exif(value: int) -> bytes:
    """EXIF as ImageMagick wrote it into PNGs."""
    block = b"Exif\0\0" + exif(value)
    return b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())


def jpeg_with(pixels: np.ndarray, *segments: bytes) -> bytes:
    """A JPEG whose first segments are these, of EXIF or XMP."""
    file = file_of(pixels, "JPEG", quality=100)
    added = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in segments]
    return file[:2] + b"".join(added) + file[2:]


def png_with(file: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk, behind its header."""
    checksum = zlib.crc32(kind + body)
    return (
        file[:33]
        + struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", checksum)
        + file[33:]
    )


EXIF_MARK, XMP_MARK = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
TURNED = {  # stored pixels, orientation -> a file that says so
    "jpeg": lambda stored, turn: jpeg_with(stored, EXIF_MARK + exif(turn)),
    "jpeg, big-endian": lambda stored, turn: jpeg_with(stored, EXIF_MARK + exif(turn, order=">")),
    "jpeg, LONG": lambda stored, turn: jpeg_with(stored, EXIF_MARK + exif(turn, "I", ">")),
    "jpeg, BYTE": lambda stored, turn: jpeg_with(stored, EXIF_MARK + exif(turn, "B")),
    "jpeg, header twice": lambda stored, turn: jpeg_with(stored, EXIF_MARK * 2 + exif(turn)),
    "jpeg, EXIF twice": lambda stored, turn: jpeg_with(
        stored, EXIF_MARK + exif(turn), EXIF_MARK + exif(3)
    ),
    "jpeg, XMP before EXIF": lambda stored, turn: jpeg_with(
        stored, XMP_MARK + xmp(3), EXIF_MARK + exif(turn)
    ),
    "jpeg, XMP alone": lambda stored, turn: jpeg_with(stored, XMP_MARK + xmp(turn)),
    "mpo": lambda stored, turn: (
        jpeg_with(stored, EXIF_MARK + exif(turn)) + jpeg_with(stored[:8, :8], EXIF_MARK + exif(3))
    ),
    "png": lambda stored, turn: png_with(file_of(stored, "PNG"), b"eXIf", exif(turn)),
    "png, XMP alone": lambda stored, turn: png_with(
        file_of(stored, "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(turn)
    ),
    "png, packed XMP": lambda stored, turn: png_with(
        file_of(stored, "PNG"),
        b"iTXt",
        b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(turn)),
    ),
    "png, EXIF as text": lambda stored, turn: png_with(
        file_of(stored, "PNG"), b"tEXt", b"Raw profile type exif\0" + old_exif(turn)
    ),
    "png, EXIF as packed text": lambda stored, turn: png_with(
        file_of(stored, "PNG"),
        b"zTXt",
        b"Raw profile type exif\0\0" + zlib.compress(old_exif(turn)),
    ),
    "webp": lambda stored, turn: file_of(stored, "WEBP", lossless=True, exif=exif(turn)),
    "webp, XMP alone": lambda stored, turn: file_of(stored, "WEBP", lossless=True, xmp=xmp(turn)),
    "tiff": lambda stored, turn: tiff(stored, extratags=[(ORIENTATION, 3, 1, turn)]),
    "tiff, XMP alone": lambda stored, turn: tiff(stored, extratags=[(700, 1, None, xmp(turn))]),
}


@pytest.mark.parametrize("kind", TURNED)
def test_pixels_and_size_are_upright_by_one_orientation(decode, kind):
    for turn, stored in STORED_AS.items():
        pixels = decode(TURNED[kind](np.ascontiguousarray(stored), turn))
        assert pixels.shape[:2] == UPRIGHT.shape
        grey = pixels if pixels.ndim == 2 else pixels[..., 0]
        np.testing.assert_allclose(grey, UPRIGHT, atol=3, err_msg=f"orientation {turn}")


@pytest.mark.parametrize(
    "block",
    [b"", b"garbage", exif(0), exif(9), exif(6)[:-20], exif(6)[:4] + b"\xff" * 9, b"II*\0\0\0\0\0"],
    ids=["empty", "garbage", "0", "9", "cut", "wild", "no directory"],
)
def test_exif_that_cannot_be_read_counts_as_absent(decode, block):
    for file in (
        jpeg_with(UPRIGHT, EXIF_MARK + block),
        png_with(file_of(UPRIGHT, "PNG"), b"eXIf", block),
    ):
        np.testing.assert_allclose(decode(file), UPRIGHT, atol=3)


@pytest.mark.parametrize(
    "name",
    [
        "xmp_before_exif.jpg",
        "exif_xres_ascii.png",
        "exif_garbage.png",
        "thumbnail_first.tif",
        "ztxt_2mb.png",
        "text_crc.png",
    ],
)
def test_the_page_is_the_same_in_a_file_with_odd_metadata(decode, name):
    page = decode((DATA / "plain.jpg").read_bytes())
    same = decode((DATA / name).read_bytes())
    assert same.shape == page.shape
    assert np.abs(same.astype(int) - page).mean() < 3


GREY = (RAMP >> 8).astype(np.uint8)
RGB = (COLOURS >> 8).astype(np.uint8)
BILEVEL = GREY > 127
PLANAR = {"photometric": "rgb", "planarconfig": "separate"}
TIFFS = {  # file, and the pixels that libtiff's own reader gives
    "8 bits": (tiff(GREY), GREY),
    "16 bits": (tiff(RAMP), GREY),
    "16 bits, big-endian": (tiff(RAMP, byteorder=">"), GREY),
    "8 bits, white is zero": (tiff(GREY, photometric="miniswhite"), 255 - GREY),
    "16 bits, white is zero": (tiff(RAMP, photometric="miniswhite"), 255 - GREY),
    "1 bit": (tiff(BILEVEL, photometric="minisblack"), BILEVEL * np.uint8(255)),
    "1 bit, white is zero": (tiff(BILEVEL, photometric="miniswhite"), ~BILEVEL * np.uint8(255)),
    "rgb": (tiff(RGB), RGB),
    "16-bit rgb": (tiff(COLOURS, photometric="rgb"), RGB),
    "planar": (tiff(RGB.transpose(2, 0, 1), **PLANAR), RGB),
    "16-bit planar": (tiff(COLOURS.transpose(2, 0, 1), **PLANAR), RGB),
    "16-bit planar, big-endian strips": (
        tiff(COLOURS.transpose(2, 0, 1), **PLANAR, rowsperstrip=7, byteorder=">"),
        RGB,
    ),
    "16-bit tiles": (tiff(COLOURS, photometric="rgb", tile=(16, 16), compression="zlib"), RGB),
    "bigtiff": (tiff(RGB, bigtiff=True), RGB),
    "a fourth channel that is no opacity": (
        tiff(np.dstack([RGB, 0 * GREY]), photometric="rgb", extrasamples=["unspecified"]),
        RGB,
    ),
    "opacity": (
        tiff(np.dstack([RGB, 0 * GREY]), photometric="rgb", extrasamples=["unassalpha"]),
        np.full_like(RGB, 255),
    ),
    "palette": (
        tiff(GREY, photometric="palette", colormap=COLOURS[0].T.copy()),
        RGB,
    ),
    "a tag of one's own": (tiff(RGB, extratags=[(65000, 2, None, "hello", True)]), RGB),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_is_read_in_the_sense_of_libtiff(decode, kind):
    file, right = TIFFS[kind]
    np.testing.assert_allclose(decode(file), right, atol=1)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw", "packbits", "tiff_ccitt"])
def test_compressed_bilevel_is_read(decode, compression):
    file = file_of(Image.fromarray(BILEVEL), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode(file), BILEVEL * np.uint8(255))


MODES = {  # that Pillow writes
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P"),
}


@pytest.mark.parametrize(
    ("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes]
)
def test_a_mode_is_read_as_pillow_reads_it(decode, mode, format):
    image = Image.fromarray(RGB).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(np.ascontiguousarray(GREY[:, ::-1])))
    file = file_of(image, format, **({"lossless": True} if format == "WEBP" else {}))
    reread = Image.open(io.BytesIO(file))
    if reread.has_transparency_data:
        paper = Image.new("RGBA", reread.size, "white")
        reread = Image.alpha_composite(paper, reread.convert("RGBA"))
    right = np.asarray(reread.convert("RGB")).astype(int)
    pixels = decode(file)
    pixels = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    np.testing.assert_allclose(pixels, right, atol=2)
    np.testing.assert_allclose(decode(file, grey=True), reread.convert("L"), atol=2)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_page_that_will_be_shrunk_comes_smaller_and_never_too_small(decode, format, mode):
    page = np.asarray(Image.fromarray(np.kron(RGB, np.ones((20, 4, 1), np.uint8))).convert(mode))
    file = file_of(page, format, quality=95)
    for shrink in (1, 0.6, 0.3, 0.1):
        pixels = decode(file, shrink=shrink)
        least = np.ceil(np.array(page.shape[:2]) * shrink)
        assert (pixels.shape[:2] >= least).all()
        assert abs(float(pixels.mean()) - float(page.mean())) < 2
    assert (pixels.shape[:2] <= np.ceil(np.array(page.shape[:2]) / 5)).all()  # twice 0.1


def test_a_tiffs_pages_are_those_that_are_no_smaller_versions_of_one(open_image, decode):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY[::4, ::4], subfiletype=1)
        writer.write(GREY)
        writer.write(GREY[::2, ::2], subfiletype=1)
        writer.write(BILEVEL, subfiletype=4)  # a mask
        writer.write(255 - GREY, subfiletype=2)
    file = buffer.getvalue()
    assert open_image(file).page_count == 2
    np.testing.assert_array_equal(decode(file), GREY)
    np.testing.assert_array_equal(decode(file, 2), 255 - GREY)


def test_a_tiff_all_of_whose_pages_say_they_are_smaller_versions_has_the_large_ones(open_image):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in (GREY[::4, ::4], GREY, GREY[:35]):
            writer.write(page, subfiletype=1)
    assert [open_image(buffer.getvalue(), page).size for page in (1, 2)] == [(256, 40), (256, 35)]
    assert open_image(buffer.getvalue()).page_count == 2


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_the_first_picture_of_an_animation_is_its_one_page(open_image, decode, format):
    others = [Image.fromarray(255 - RGB)]
    options = {"lossless": True} if format == "WEBP" else {}
    file = file_of(RGB, format, save_all=True, append_images=others, **options)
    assert open_image(file).page_count == 1
    np.testing.assert_array_equal(decode(file), RGB)


def gif_of(*pictures: np.ndarray, **options) -> bytes:
    """Of few colours, so that none is lost; the pictures follow each other."""
    first, *others = map(Image.fromarray, pictures)
    return file_of(first, "GIF", save_all=True, append_images=others, **options)


def test_the_first_picture_of_an_animated_gif_is_its_one_page(open_image, decode):
    file = gif_of(GREY, 255 - GREY, GREY // 2)
    assert open_image(file).page_count == 1
    np.testing.assert_array_equal(decode(file, grey=True), GREY)
    cut = file[: len(file) * 2 // 3]  # in the second picture, which nobody asks for
    np.testing.assert_array_equal(decode(cut, grey=True), GREY)


def test_an_interlaced_gif_is_read(decode):
    np.testing.assert_array_equal(decode(gif_of(GREY, interlace=1), grey=True), GREY)


def test_a_gifs_transparent_parts_and_what_its_picture_leaves_free_are_paper(decode):
    stamp = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    stamp.paste((200, 0, 0, 255), (10, 10, 30, 30))
    file = bytearray(file_of(stamp, "GIF"))
    file[6:10] = struct.pack("<HH", 100, 50)  # a larger page
    right = np.full((50, 100, 3), 255, np.uint8)
    right[10:30, 10:30] = (200, 0, 0)
    np.testing.assert_array_equal(decode(bytes(file)), right)


def ends_early(gif: bytes) -> bytes:
    """A GIF whose first picture has one block of data in place of all."""
    start = gif.index(b"\x2c\0\0\0\0") + 10  # its size is that of the page, its colours are global
    return gif[: start + 1] + gif[start + 1 : start + 257] + b"\0;"


def test_bytes_that_a_jpeg_has_no_use_for_are_no_damage(decode):
    file = file_of(RGB, "JPEG")
    padded = file[:-2] + b"\0\0" + file[-2:]
    np.testing.assert_array_equal(decode(padded), decode(file))


@pytest.mark.parametrize("junk", [b"\x12\x34" * 8, bytes(4000)])
def test_other_bytes_that_a_jpeg_has_left_over_are_of_damage(decode, junk):
    file = file_of(PAGE, "JPEG")
    with pytest.raises(ValueError, match=r"JPEG, Corrupt JPEG data: .* extraneous bytes"):
        decode(file[:-2] + junk + file[-2:])


def test_a_jpeg_in_which_bytes_changed_is_refused(decode):
    """All of its blocks are there, other ones: that data are left over is all that tells."""
    file = file_of(PAGE, "JPEG", quality=90)
    at = len(file) // 2
    with pytest.raises(ValueError, match="JPEG, Corrupt JPEG data: "):
        decode(file[:at] + b"\x55" * 20 + file[at + 20 :])


@pytest.mark.parametrize("scans_left", [1, 3, 9])
def test_a_progressive_jpeg_cut_between_two_scans_is_refused(decode, scans_left):
    file = file_of(PAGE, "JPEG", progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", file)]
    assert len(scans) == 10
    with pytest.raises(ValueError, match=r"JPEG, cut short: \d+ of 192 coefficients are in no"):
        decode(file[: scans[scans_left]] + b"\xff\xd9")


@pytest.mark.parametrize("tiles", [{}, {"tile": (64, 64)}])
def test_a_tiffs_checksums_are_looked_at(decode, tiles):
    """zlib's stand at the end of each strip, where libtiff does not read on."""
    file = tiff(RGB, compression="zlib", photometric="rgb", **tiles)
    with tifffile.TiffFile(io.BytesIO(file)) as opened:
        (page,) = opened.pages
        end = page.dataoffsets[-1] + page.databytecounts[-1]
    np.testing.assert_array_equal(decode(file), RGB)
    with pytest.raises(ValueError, match=r"TIFF, cut short or damaged: .* incorrect data check"):
        decode(file[: end - 1] + bytes([file[end - 1] ^ 1]) + file[end:])


@pytest.mark.parametrize("colours", [1, 3])
def test_a_channel_that_a_tiff_does_not_tell_of_is_left_out(decode, colours):
    seen = RGB[..., 0] if colours == 1 else RGB
    channels = np.dstack([seen, np.zeros(RGB.shape[:2], np.uint8)])
    kind = "minisblack" if colours == 1 else "rgb"
    file = tiff(channels, photometric=kind, planarconfig="contig", extrasamples=[0])
    entry = struct.pack("<H", 338)
    assert file.count(entry) == 1
    np.testing.assert_array_equal(decode(file.replace(entry, struct.pack("<H", 337))), seen)


def test_a_jpeg_of_unusual_sampling_is_read(decode):
    """Six blocks of light for each of colour, 3 x 2, all of the middle grey: DC 0, end of block."""
    file = file_of(np.full((16, 16, 3), 128, np.uint8), "JPEG", subsampling="4:2:0")
    frame = file.index(b"\xff\xc0")
    assert file[frame + 11] == 0x22
    scan = file.index(b"\xff\xda")
    data = scan + 2 + int.from_bytes(file[scan + 2 : scan + 4], "big")
    bits = ("001010" * 6 + "0000" * 2) * 3  # by the tables of the standard's Annex K
    unusual = (
        bytearray(file[:data])
        + int(bits + "1" * (-len(bits) % 8), 2).to_bytes(17, "big")
        + b"\xff\xd9"
    )
    unusual[frame + 5 : frame + 12] = struct.pack(">HHBBB", 16, 72, 3, 1, 0x32)
    np.testing.assert_array_equal(decode(bytes(unusual)), np.full((16, 72, 3), 128))


PAGE = np.asarray(Image.open(DATA / "plain.jpg").convert("RGB"))
PAGE_BILEVEL = Image.fromarray(PAGE).convert("1")


def flipped(file: bytes, start: float, count: int = 40) -> bytes:
    """The file with some bytes changed from a share of its length on."""
    at = int(len(file) * start)
    changed = bytes(byte ^ 0x5A for byte in file[at : at + count])
    return file[:at] + changed + file[at + count :]


def strip_cut(file: bytes, share: float = 0.5) -> bytes:
    """A TIFF of one strip whose data ends early, though its directory is whole."""
    counts = Image.open(io.BytesIO(file)).tag_v2
    (size,) = counts[279]
    entry = struct.pack("<HHI", 279, 4, 1)
    at = file.index(entry) + len(entry)
    return file[:at] + struct.pack("<I", int(size * share)) + file[at + 4 :]


def float_offsets(file: bytes) -> bytes:
    """A TIFF whose strip offsets are written as floats."""
    entry = struct.pack("<HHI", 273, 4, 1)
    return file.replace(entry, struct.pack("<HHI", 273, 11, 1))


def half(file: bytes) -> bytes:
    return file[: len(file) // 2]


ONE_STRIP = {"strip_size": 2**22}
DAMAGED = {  # file: what the refusal says after the format
    "half a jpeg": (half(file_of(PAGE, "JPEG")), "JPEG, Premature end of JPEG file"),
    "half a progressive jpeg": (half(file_of(PAGE, "JPEG", progressive=True)), "JPEG, "),
    "half a jpeg, then its end": (
        half(file_of(PAGE, "JPEG")) + b"\xff\xd9",
        "JPEG, Corrupt JPEG data: premature end of data segment",
    ),
    "a jpeg without some bytes": (
        (lambda file: file[: len(file) // 2] + file[len(file) // 2 + 400 :])(file_of(PAGE, "JPEG")),
        "JPEG, Corrupt JPEG data: premature end of data segment",
    ),
    "a jpeg of a header": (file_of(PAGE, "JPEG")[:20], "JPEG, cut short in its header"),
    "cut_then_eoi.jpg": (
        (DATA / "cut_then_eoi.jpg").read_bytes(),
        "JPEG, Corrupt JPEG data: premature end of data segment",
    ),
    "precision_12.jpg": (
        (DATA / "precision_12.jpg").read_bytes(),
        "JPEG, Unsupported JPEG data precision 12",
    ),
    "an Apple png": (
        png_with(file_of(PAGE, "PNG")[:8] + bytes(25), b"CgBI", bytes(4)),
        "PNG, begins with b'",
    ),
    "half a png": (half(file_of(PAGE, "PNG")), "PNG, "),
    "a png with wrong bytes": (flipped(file_of(PAGE, "PNG"), 0.5), "PNG, "),
    "a png of a header": (file_of(PAGE, "PNG")[:20], "PNG, cut short in its header"),
    "half a webp": (half(file_of(PAGE, "WEBP")), "WEBP, "),
    "half a gif": (half(file_of(PAGE, "GIF")), "GIF, cut short"),
    "a gif without its last byte of data": (file_of(PAGE, "GIF")[:-2], "GIF, cut short"),
    "a gif whose data end early": (ends_early(gif_of(GREY)), "GIF, cut short"),
    "a gif of a header": (file_of(PAGE, "GIF")[:10], "GIF, cut short in its header"),
    "a gif without a picture": (file_of(PAGE, "GIF")[:13] + b";", "GIF, no picture in it"),
    "a gif larger than its page": (
        file_of(PAGE, "GIF")[:6] + struct.pack("<HH", 9, 9) + file_of(PAGE, "GIF")[10:],
        "GIF, ",
    ),
    "half a bmp": (half(file_of(PAGE, "BMP")), "BMP, cut short or damaged"),
    "half a tiff": (half(file_of(PAGE, "TIFF")), "TIFF, cut short or damaged"),
    "half a tiff whose directory comes last": (
        half(tiff(PAGE, compression="zlib", rowsperstrip=64)),
        "TIFF, ",
    ),
    "a tiff without pixels": (
        struct.pack("<2sHIHHHI4sI", b"II", 42, 8, 1, 254, 4, 1, b"\0\0\0\0", 0),
        "TIFF, no ImageWidth or ImageLength",
    ),
    "a tiff in a circle": (
        struct.pack("<2sHIHI", b"II", 42, 8, 0, 8),
        "TIFF, its directories go in a",
    ),
    "strip offsets that are floats": (
        float_offsets(file_of(PAGE, "TIFF", **ONE_STRIP)),
        "TIFF, its StripOffsets are of type 11, not whole numbers",
    ),
    "floating point": (
        tiff(RAMP.astype(np.float32)),
        r"TIFF, samples of type float \(b-w\), limit",
    ),
    "12 bits": (
        tiff(RAMP).replace(
            struct.pack("<HHII", 258, 3, 1, 16), struct.pack("<HHII", 258, 3, 1, 12)
        ),
        "TIFF, samples of 12 bits, limit 1, 2, 4, 8 or 16",
    ),
    "32 bits": (tiff(RAMP.astype(np.uint32)), r"TIFF, samples of type uint \(b-w\), limit"),
    **{
        f"{way} {compression}": (
            break_(
                file_of(
                    PAGE_BILEVEL if "group" in compression else PAGE,
                    "TIFF",
                    compression=compression,
                    **ONE_STRIP,
                )
            ),
            "TIFF, ",
        )
        for compression in (
            "group3",
            "group4",
            "tiff_lzw",
            "tiff_adobe_deflate",
            "packbits",
            "jpeg",
        )
        for way, break_ in (
            ("wrong bytes in", lambda file: flipped(file, 0.4)),
            ("half a strip of", strip_cut),
        )
    },
}


@pytest.mark.parametrize("bad", DAMAGED)
def test_a_damaged_file_is_refused_with_format_and_reason(decode, bad):
    file, reason = DAMAGED[bad]
    with pytest.raises(ValueError, match=f"^image: {len(file)} bytes of {reason}") as refused:
        decode(file)
    reason_given = str(refused.value)
    assert len(reason_given) < 200
    assert not reason_given.endswith(", ")


def png_of(width: int, height: int, depth: int, colour: int, filter: int = 0) -> bytes:
    """A PNG whose rows are all 0, written with a filter; few bytes for any size."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    row = bytes([filter]) + bytes((width * channels * depth + 7) // 8)
    packer = zlib.compressobj(1)
    rows = [packer.compress(row * min(64, height - y)) for y in range(0, height, 64)]
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0),
        b"IDAT" + b"".join(rows) + packer.flush(),
        b"IEND",
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def claims(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of a few bytes that says it is `width` x `height`."""
    file = bytearray(png_of(1, 1, depth, colour))
    file[16:24] = struct.pack(">II", width, height)
    return bytes(file)


def webp_of(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: a few bytes for any size."""
    file = bytearray(file_of(np.full((16, 16, 3), 255, np.uint8), "WEBP", lossless=True))
    at = file.index(b"VP8L") + 9
    (bits,) = struct.unpack_from("<I", file, at)
    bits = bits & 0xF0000000 | (height - 1) << 14 | (width - 1)
    file[at : at + 4] = struct.pack("<I", bits)
    return bytes(file)


def with_scans(side: int, count: int) -> bytes:
    """A blank progressive JPEG whose last scan, which changes nothing, comes `count` times more."""
    file = file_of(np.full((side, side, 3), 255, np.uint8), "JPEG", progressive=True)
    scan = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + scan * count + file[-2:]


def tiff_claims(**tags: int) -> bytes:
    """A TIFF of nothing but a directory."""
    numbers = {"width": 256, "height": 257, "bits": 258, "samples": 277, "tile": 322, "length": 323}
    fields = [struct.pack("<HHII", numbers[name], 4, 1, value) for name, value in tags.items()]
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + b"".join(fields) + bytes(4)


def bmp_of(width: int, height: int) -> bytes:
    """A run-length encoded BMP of one colour."""
    row = b"\xff\1" * (width // 255) + bytes([width % 255, 1]) + b"\0\0"
    header = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 1078) + header + bytes(1024) + row * height


TOO_MUCH = {  # file: what the refusal says after its bytes and format
    "a huge png": (claims(60_000, 60_000), "60000 x 60000 pixels, limit 100000000 pixels"),
    "a png of one column": (claims(1, 100_000_000), "1 x 100000000 pixels, limit 65535 a side"),
    "a png of one row": (claims(65_536, 1), "65536 x 1 pixels, limit 65535 a side"),
    "a deep png": (claims(10_000, 10_000, 16, 6), "as much work as 800000000 decoded bytes, limit"),
    "an empty png": (claims(0, 10), "0 x 10 pixels, none to look at"),
    "a small webp of a huge size": (
        webp_of(16_383, 16_383),
        "16383 x 16383 pixels, limit 100000000 pixels",
    ),
    "a webp of a large size": (webp_of(8000, 8000), "as much work as 512000000 decoded bytes"),
    "thousands of scans": (with_scans(800, 4000), "as much work as 42[0-9]{7} decoded bytes"),
    "tens of thousands of scans": (with_scans(16, 100_000), "over 100000 segments"),
    "a tiff of many channels": (
        tiff_claims(width=5000, height=5000, bits=8, samples=500),
        "as much work as 12500001000 decoded bytes",
    ),
    "a tiff of one huge tile": (
        tiff_claims(width=100, height=100, tile=60_000, length=60_000),
        "as much work as 3600000000 decoded bytes",
    ),
    "a tiff of tiny tiles": (
        tiff_claims(width=9000, height=9000, tile=16, length=16),
        "as much work as 397406000 decoded bytes",
    ),
    "a large bmp": (bmp_of(10_000, 9000), "as much work as 540000000 decoded bytes"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_what_would_cost_too_much_is_refused_before_it_is_decoded(open_image, kind):
    file, reason = TOO_MUCH[kind]
    with pytest.raises(ValueError, match=f"^image: {len(file)} bytes of .*, {reason}"):
        open_image(file)


def test_a_captcha_has_a_limit_of_its_own(step, open_image):
    most = step("captcha_preprocess").MAX_PIXELS
    assert most <= 4_000_000
    assert open_image(claims(2000, most // 2000), max_pixels=most)
    with pytest.raises(ValueError, match=rf"2000 x 2001 pixels, limit {most} pixels"):
        open_image(claims(2000, most // 2000 + 1), max_pixels=most)


WORST = {  # at the limits, the slowest and largest of each decoder
    "jpeg in many scans": lambda: with_scans(2000, 450),
    "large progressive jpeg": lambda: file_of(
        Image.new("RGB", (9900, 9900)), "JPEG", progressive=True, subsampling="4:2:0"
    ),
    "png in colour": lambda: png_of(10_000, 10_000, 8, 2, filter=4),
    "deep png": lambda: png_of(6400, 6400, 16, 6, filter=4),
    "tall png": lambda: png_of(1500, 65_535, 8, 2, filter=4),
    "webp": lambda: webp_of(6470, 6470),
    "bmp": lambda: bmp_of(7400, 7500),
}
WORST_CPU_S, WORST_MIB = 2.5, 450  # measured: 0.9 s and 330 MiB


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024


@contextmanager
def peak_mib() -> Iterator[list[float]]:
    """What this process has in memory while the block runs, over what it had before."""
    before, seen, done = resident_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident_mib() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize("kind", WORST)
def test_the_worst_legal_image_costs_little(step, kind):
    served, file = step("document_preprocess"), WORST[kind]()
    with peak_mib() as seen:
        start = time.process_time()
        image = served.open_image(file)
        with suppress(ValueError):  # scans that repeat what was said are refused at their end
            pixels = served.read_pixels(image, 640 / max(image.size), grey=False)
            assert max(pixels.shape) <= 4 * 640
        taken = time.process_time() - start
    assert taken < WORST_CPU_S
    assert max(seen) < WORST_MIB
