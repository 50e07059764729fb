"""Images as callers hold them become the bytes of an image file."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from countersign import Refused
from countersign.images import encoded

RGB = np.random.default_rng(0).integers(0, 256, (5, 3, 3), np.uint8)
GREY = RGB[..., 0]


@pytest.mark.parametrize("pixels", [RGB, GREY, GREY[:1, :1]], ids=["rgb", "grey", "one pixel"])
def test_an_array_becomes_a_file_that_pillow_reads_back_exactly(pixels):
    image = Image.open(io.BytesIO(encoded(pixels)))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image), pixels)


def test_an_array_becomes_a_file_that_opencv_reads_back_exactly():
    bgr = cv2.imdecode(np.frombuffer(encoded(RGB), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(bgr[..., ::-1], RGB)


def test_an_array_may_be_a_view_that_is_not_contiguous():
    turned = RGB.transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded(turned)))), turned)


def test_bytes_travel_as_they_are():
    assert encoded(b"any bytes") == b"any bytes"


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_gives_the_bytes_of_its_file(tmp_path, kind):
    file = tmp_path / "page.jpg"
    file.write_bytes(b"its bytes")
    assert encoded(kind(file)) == b"its bytes"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (RGB.astype(np.float32), "array of float32, expected uint8"),
        (RGB > 9, "array of bool, expected uint8"),
        (RGB[None], r"array of shape \(1, 5, 3, 3\), expected \(H, W\) or \(H, W, 3\)"),
        (RGB[..., :1], r"array of shape \(5, 3, 1\)"),
        (RGB[:0], r"array of shape \(0, 3, 3\)"),
        (np.zeros(4, np.uint8), r"array of shape \(4,\)"),
        (7, "int, expected bytes, a path or a numpy array"),
        ("nowhere.jpg", "nowhere.jpg: No such file or directory"),
        ("zero\0byte", "embedded null byte"),
        ("/dev/zero", "/dev/zero: a device, expected a file"),
        ("/", "/: a folder, expected a file"),
    ],
)
def test_anything_else_is_refused_by_name(image, reason):
    with pytest.raises(Refused, match=f"^image: .*{reason}"):
        encoded(image)
