"""Every kind of image that scanners and phones make, and of bad input, to a running server."""

import io
import math
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from countersign import Client, Refused

EXIF_ORIENTATION = 0x0112
TRANSPOSED_BY = {  # what a camera held that way has stored: upright page -> stored pixels
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def file_of(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def page(samples, sample_pages) -> Image.Image:
    """The first sample page, RGB."""
    return Image.open(samples / next(iter(sample_pages))).convert("RGB")


@pytest.fixture(scope="module")
def truth(sample_pages) -> list[dict]:
    """The boxes on it, as its generator drew them."""
    return next(iter(sample_pages.values()))["boxes"]


@pytest.fixture(scope="module")
def captcha(samples, sample_captchas) -> bytes:
    return (samples / next(iter(sample_captchas))).read_bytes()


def overlap(a, b) -> float:
    """Intersection over union by torchvision."""
    return float(box_iou(torch.tensor([a]), torch.tensor([b])))


def assert_finds(found, truth: list[dict]) -> None:
    for box in truth:
        hits = [
            detection
            for detection in found
            if detection.label == box["class"] and overlap(detection.box, box["xyxy"]) > 0.5
        ]
        assert hits, f"no {box['class']} at {box['xyxy']}"


def grey16(page: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(page.convert("L")).astype(np.uint16) * 257)


def on_nothing(page: Image.Image) -> Image.Image:
    """Ink on transparency whose hidden colour is black, as drawing programs write it."""
    ink = 255 - np.asarray(page.convert("L"))
    return Image.fromarray(np.dstack([np.zeros((*ink.shape, 3), np.uint8), ink]), "RGBA")


KINDS = {
    "jpeg": lambda page: file_of(page, "JPEG", quality=90),
    "grey jpeg": lambda page: file_of(page.convert("L"), "JPEG", quality=90),
    "cmyk jpeg": lambda page: file_of(page.convert("CMYK"), "JPEG", quality=90),
    "progressive jpeg": lambda page: file_of(page, "JPEG", quality=90, progressive=True),
    "png": lambda page: file_of(page, "PNG"),
    "grey png": lambda page: file_of(page.convert("L"), "PNG"),
    "16 bit png": lambda page: file_of(grey16(page), "PNG"),
    "palette png": lambda page: file_of(page.quantize(64), "PNG"),
    "alpha png": lambda page: file_of(page.convert("RGBA"), "PNG"),
    "transparent png": lambda page: file_of(on_nothing(page), "PNG"),
    "16 bit tiff": lambda page: file_of(grey16(page), "TIFF"),
    "lzw tiff": lambda page: file_of(page, "TIFF", compression="tiff_lzw"),
    "cmyk tiff": lambda page: file_of(page.convert("CMYK"), "TIFF"),
    "webp": lambda page: file_of(page, "WEBP", quality=90),
    "bmp": lambda page: file_of(page, "BMP"),
    "tiff of two pages": lambda page: file_of(
        page, "TIFF", save_all=True, append_images=[Image.new("RGB", (300, 200), "white")]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_shows_the_same_page(client, page, truth, kind):
    found = client.detect(KINDS[kind](page))
    assert found.page_size == page.size
    assert_finds(found, truth)


@pytest.mark.parametrize("orientation", TRANSPOSED_BY)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_boxes_lie_on_the_page_as_a_person_sees_it(client, page, truth, orientation, format):
    turn = TRANSPOSED_BY[orientation]
    stored = page if turn is None else page.transpose(turn)
    exif = stored.getexif()
    exif[EXIF_ORIENTATION] = orientation
    found = client.detect(file_of(stored, format, exif=exif))
    assert found.page_size == page.size
    assert_finds(found, truth)


def test_a_page_of_one_pixel_has_nothing_on_it(client):
    found = client.detect(file_of(Image.new("RGB", (1, 1), "white"), "PNG"))
    assert found.page_size == (1, 1)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.labels == ()


@pytest.mark.parametrize("size", [(5000, 3), (3, 5000)])
def test_a_strip_of_a_page_is_answered(client, size):
    assert client.detect(file_of(Image.new("L", size, 255), "PNG")).page_size == size


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def claimed(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is `width` x `height`."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


NEITHER = "neither a JPEG, PNG, TIFF, WEBP, BMP file nor the base64 text of one"
BAD_IMAGES = {  # what is sent, made from a good page: what the refusal says
    "empty": (lambda page: b"", "image: 0 bytes, an image file is needed"),
    "text": (lambda page: b"hello, world", f"image: 12 bytes beginning b'hello, w', {NEITHER}"),
    "a pdf": (lambda page: b"%PDF-1.7\n", f"image: 9 bytes beginning b'%PDF-1.7', {NEITHER}"),
    "half a jpeg": (lambda page: cut(file_of(page, "JPEG")), "bytes of JPEG, cut short or damaged"),
    "half a png": (lambda page: cut(file_of(page, "PNG")), "bytes of PNG, "),
    "half a tiff": (lambda page: cut(file_of(page, "TIFF")), "image: "),
    "half a webp": (lambda page: cut(file_of(page, "WEBP")), "image: "),
    "half a bmp": (lambda page: cut(file_of(page, "BMP")), "bytes of BMP, "),
    "a huge png": (
        lambda page: claimed(60_000, 60_000),
        "image: 60000 x 60000 pixels, limit 100000000 pixels",
    ),
    "over the byte limit": (
        lambda page: file_of(page, "JPEG") + bytes(32 * 2**20),
        f"limit {32 * 2**20}",
    ),
    "floating point": (
        lambda page: file_of(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"),
        "image: samples of 32 bits (Pillow mode F), limit 16 bits",
    ),
}


@pytest.mark.parametrize("bad", BAD_IMAGES)
@pytest.mark.parametrize("method", ["detect", "read"])
def test_a_bad_image_is_refused_with_value_and_limit_and_the_next_is_answered(
    client, page, truth, captcha, sample_captchas, bad, method
):
    make, reason = BAD_IMAGES[bad]
    with pytest.raises(Refused) as refused:
        getattr(client, method)(make(page))
    assert reason in str(refused.value)
    assert_finds(client.detect(file_of(page, "JPEG")), truth)
    assert client.read(captcha).text == next(iter(sample_captchas.values()))


@pytest.mark.parametrize("value", [math.nan, -1, 2, -0.001, 1.001])
@pytest.mark.parametrize("name", ["confidence", "confidence_stamp", "iou"])
def test_a_bad_threshold_is_refused_with_value_and_limit(client, page, name, value):
    setting = {"confidence": {"stamp": value}} if name == "confidence_stamp" else {name: value}
    with pytest.raises(Refused, match=rf"parameter {name}: {value}.*, limit a number 0 to 1"):
        client.detect(file_of(page, "JPEG"), **setting)


def test_an_unknown_class_is_refused_with_those_known(client, page):
    with pytest.raises(Refused, match=r"confidence_seal: unknown, known are .*confidence_stamp"):
        client.detect(file_of(page, "JPEG"), confidence={"seal": 0.5})


@pytest.mark.parametrize("bad", [bad for bad in BAD_IMAGES if bad != "over the byte limit"])
def test_a_bad_image_does_not_touch_its_neighbours(client, page, truth, bad):
    good = file_of(page, "JPEG")
    images = [good, BAD_IMAGES[bad][0](page)] * 4
    answers = list(client.detect_many(images, concurrency=8))
    for good_answer, bad_answer in zip(answers[::2], answers[1::2], strict=True):
        assert_finds(good_answer, truth)
        assert isinstance(bad_answer, Refused)


def test_200_concurrent_mixed_requests_are_answered_as_one_by_one(
    server, samples, sample_pages, sample_captchas
):
    pages = [("detect", (samples / name).read_bytes()) for name in sample_pages]
    captchas = [("read", (samples / name).read_bytes()) for name in sample_captchas]
    bad = [("detect", b"hello"), ("read", b""), ("detect", cut(pages[0][1]))]
    kinds = pages + captchas + bad
    requests = [kinds[i % len(kinds)] for i in range(200)]

    with Client(server.grpc_url) as grpc, Client(server.http_url, protocol="http") as http:

        def answer(number: int, request: tuple[str, bytes]) -> str:
            method, image = request
            try:
                reply = getattr(http if number % 2 else grpc, method)(image)
            except Refused as error:
                return str(error)
            if method == "read":
                return repr(reply)
            return repr((reply.boxes.tolist(), reply.scores.tolist(), reply.labels))

        alone = [[answer(way, kind) for kind in kinds] for way in (0, 1)]
        assert alone[0] == alone[1]
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(answer, range(200), requests))
    assert together == [alone[0][i % len(kinds)] for i in range(200)]
