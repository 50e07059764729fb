"""Every kind of image that scanners and phones make, and of bad input, to a running server."""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torchvision.ops import box_iou
from tritonclient.utils import InferenceServerException

from countersign import Client, Refused

DATA = Path(__file__).with_name("data")
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
    return float(box_iou(torch.tensor(np.array([a])), torch.tensor(np.array([b]))))


def assert_finds(found: dict[str, np.ndarray], truth: list[dict]) -> None:
    for box in truth:
        hits = [
            label
            for xyxy, label in zip(found["boxes"], found["labels"], strict=True)
            if label.decode() == box["class"] and overlap(xyxy, box["xyxy"]) > 0.5
        ]
        assert hits, f"no {box['class']} at {box['xyxy']}"


def on_nothing(page: Image.Image) -> Image.Image:
    """Ink on transparency whose hidden colour is black, as drawing programs write it."""
    ink = 255 - np.asarray(page.convert("L"))
    return Image.fromarray(np.dstack([np.zeros((*ink.shape, 3), np.uint8), ink]), "RGBA")


def white_is_zero(page: Image.Image) -> bytes:
    """A 16-bit grey TIFF whose numbers say how dark a pixel is."""
    file = io.BytesIO()
    darkness = (255 - np.asarray(page.convert("L"))).astype(np.uint16) * 257
    tifffile.imwrite(file, darkness, photometric="miniswhite")
    return file.getvalue()


KINDS = {  # one or two for each decoder; test_decode.py has them all
    "jpeg": lambda page: file_of(page, "JPEG", quality=90),
    "cmyk jpeg": lambda page: file_of(page.convert("CMYK"), "JPEG", quality=90),
    "transparent png": lambda page: file_of(on_nothing(page), "PNG", compress_level=1),
    "white is zero": white_is_zero,
    "webp": lambda page: file_of(page, "WEBP", quality=90, method=0),
    "bmp": lambda page: file_of(page, "BMP"),
    "second page of a tiff": lambda page: file_of(
        Image.new("RGB", (300, 200), "white"), "TIFF", save_all=True, append_images=[page]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_shows_the_same_page(ask, page, truth, kind):
    found = ask(KINDS[kind](page), page=2 if "second" in kind else 1)
    assert found["page_size"].tolist() == list(page.size)
    assert_finds(found, truth)


def test_boxes_lie_on_the_page_as_a_person_sees_it(ask, page, truth):
    for orientation, turn in TRANSPOSED_BY.items():
        stored = page if turn is None else page.transpose(turn)
        exif = stored.getexif()
        exif[EXIF_ORIENTATION] = orientation
        found = ask(file_of(stored, "JPEG", exif=exif))
        assert found["page_size"].tolist() == list(page.size)
        assert_finds(found, truth)


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
def test_odd_metadata_changes_no_box(ask, name):
    plain = ask((DATA / "plain.jpg").read_bytes(), confidence=0.3)
    found = ask((DATA / name).read_bytes(), confidence=0.3)
    assert len(plain["boxes"]) >= 2
    assert found["page_size"].tolist() == plain["page_size"].tolist()
    assert sorted(found["labels"].tolist()) == sorted(plain["labels"].tolist())
    for box in plain["boxes"]:
        assert max(overlap(box, other) for other in found["boxes"]) > 0.8  # JPEG and PNG


def test_a_page_of_one_pixel_has_nothing_on_it(ask):
    found = ask(file_of(Image.new("RGB", (1, 1), "white"), "PNG"))
    assert found["page_size"].tolist() == [1, 1]
    assert [found[name].shape for name in ("boxes", "scores", "labels")] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize("size", [(5000, 3), (3, 5000)])
def test_a_strip_of_a_page_is_answered(ask, size):
    assert ask(file_of(Image.new("L", size, 255), "PNG"))["page_size"].tolist() == list(size)


def half(file: bytes) -> bytes:
    return file[: len(file) // 2]


def floats(image: Image.Image) -> bytes:
    """A TIFF whose strip offsets are written as floats."""
    file = file_of(image, "TIFF")
    return file.replace(b"\x11\x01\x04\0", b"\x11\x01\x0b\0")


SMALL = Image.open(DATA / "plain.jpg").convert("RGB")
NEITHER = "neither a JPEG, PNG, TIFF, WEBP, BMP, GIF file nor the base64 text of one"
BAD_IMAGES = {  # what is sent: how the refusal goes on after "image: "
    b"": "0 bytes, an image file is needed",
    b"hello, world": f"12 bytes beginning b'hello, w', {NEITHER}",
    b"%PDF-1.7\n": f"9 bytes beginning b'%PDF-1.7', {NEITHER}",
    half(file_of(SMALL, "JPEG")): "10741 bytes of JPEG, Premature end of JPEG file",
    half(file_of(SMALL, "PNG")): "53642 bytes of PNG, cut short or damaged",
    half(file_of(SMALL, "TIFF")): "223301 bytes of TIFF, cut short or damaged",
    half(file_of(SMALL, "WEBP")): "9442 bytes of WEBP, cut short or damaged",
    half(file_of(SMALL, "BMP")): "223917 bytes of BMP, cut short or damaged",
    (DATA / "cut_then_eoi.jpg").read_bytes(): "39130 bytes of JPEG, Corrupt JPEG data",
    (DATA / "precision_12.jpg").read_bytes(): "31620 bytes of JPEG, Unsupported JPEG",
    floats(SMALL): "446603 bytes of TIFF, its StripOffsets are of type 11, not whole numbers",
    file_of(SMALL, "PNG") + bytes(32 * 2**20): f"bytes of PNG, limit {32 * 2**20}",
}


@pytest.mark.parametrize("ensemble", ["document_detector", "captcha_reader"])
def test_a_bad_image_is_refused_with_the_reason_and_the_next_is_answered(
    ask, page, truth, captcha, sample_captchas, ensemble
):
    for image, reason in BAD_IMAGES.items():
        with pytest.raises(InferenceServerException) as refused:
            ask(image, ensemble)
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
        message = refused.value.message()
        assert message.startswith(f"in ensemble '{ensemble}', image: ")
        assert reason in message
    assert_finds(ask(file_of(page, "JPEG")), truth)
    assert ask(captcha, "captcha_reader")["text"].item().decode() == next(
        iter(sample_captchas.values())
    )


@pytest.mark.parametrize("value", [math.nan, -1, 2, -0.001, 1.001])
@pytest.mark.parametrize("name", ["confidence", "confidence_stamp", "iou"])
def test_a_bad_threshold_is_refused_with_value_and_limit(client, page, name, value):
    setting = {"confidence": {"stamp": value}} if name == "confidence_stamp" else {name: value}
    with pytest.raises(Refused, match=rf"parameter {name}: {value}.*, limit a (number 0|finite)"):
        client.detect(file_of(page, "JPEG"), **setting)


def test_an_unknown_class_is_refused_with_those_known(client, page):
    with pytest.raises(Refused, match=r"confidence_seal: unknown, known are .*confidence_stamp"):
        client.detect(file_of(page, "JPEG"), confidence={"seal": 0.5})


def test_bad_images_do_not_touch_their_neighbours(ask, page, truth):
    good = file_of(page, "JPEG")
    images = [image for bad in BAD_IMAGES for image in (good, bad)]

    def answer(image: bytes):
        try:
            return ask(image)
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, images))
    for found in answers[::2]:
        assert_finds(found, truth)
    assert all(isinstance(refused, InferenceServerException) for refused in answers[1::2])


def test_200_concurrent_mixed_requests_are_answered_as_one_by_one(
    server, samples, sample_pages, sample_captchas
):
    pages = [("detect", (samples / name).read_bytes()) for name in sample_pages]
    captchas = [("read", (samples / name).read_bytes()) for name in sample_captchas]
    bad = [("detect", b"hello"), ("read", b""), ("detect", half(pages[0][1]))]
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
