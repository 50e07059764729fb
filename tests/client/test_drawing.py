"""Boxes drawn on pages: where, and in which colour."""

import numpy as np
import pytest
from PIL import Image

from countersign import Detections
from countersign.drawing import annotate

SIGNATURE, STAMP = (0, 90, 200), (200, 30, 60)


def drawn(tmp_path, page, box, label="signature", **saved):
    page.save(tmp_path / "page.png", **saved)
    boxes = np.array([box], np.float32)
    found = Detections(boxes, np.array([0.5], np.float32), (label,), page.size)
    annotate(tmp_path / "page.png", found, tmp_path / "new" / "picture.jpg")
    return Image.open(tmp_path / "new" / "picture.jpg")


def near(picture, point, colour):
    return np.abs(np.subtract(picture.getpixel(point), colour)).max() < 25  # JPEG's loss


@pytest.mark.parametrize(("label", "colour"), [("signature", SIGNATURE), ("stamp", STAMP)])
def test_a_box_is_drawn_on_its_edges_and_not_inside(tmp_path, label, colour):
    page = Image.new("RGB", (300, 200), "white")
    picture = drawn(tmp_path, page, (40, 80, 240, 160), label)
    assert picture.size == (300, 200)
    for edge in ((40, 120), (240, 120), (140, 80), (140, 160)):
        assert near(picture, edge, colour)
    assert near(picture, (140, 120), (255, 255, 255))


def test_a_turned_page_is_drawn_upright(tmp_path):
    """EXIF orientation 6: the camera lay on its side, viewers turn the picture clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    page = Image.new("RGB", (300, 200), "white")
    page.paste("lime", (0, 0, 60, 20))  # top left; upright it is top right
    picture = drawn(tmp_path, page, (20, 200, 120, 280), exif=exif)
    assert picture.size == (200, 300)
    assert near(picture, (190, 30), (0, 255, 0))
    assert near(picture, (20, 240), SIGNATURE)


def test_a_bilevel_page_gets_coloured_boxes(tmp_path):
    picture = drawn(tmp_path, Image.new("1", (300, 200), 1), (40, 80, 240, 160))
    assert near(picture, (40, 120), SIGNATURE)


def test_what_is_transparent_is_white(tmp_path):
    picture = drawn(tmp_path, Image.new("RGBA", (300, 200), (0, 0, 0, 0)), (40, 80, 240, 160))
    assert near(picture, (140, 120), (255, 255, 255))


def test_a_page_of_16_bits_keeps_its_grey(tmp_path):
    page = Image.fromarray(np.full((200, 300), 128 * 256, np.uint16))
    picture = drawn(tmp_path, page, (40, 80, 240, 160))
    assert near(picture, (140, 120), (128, 128, 128))


def test_a_label_stays_on_the_page(tmp_path):
    """A box in the top right corner: no room above it, nor to its right."""
    picture = drawn(tmp_path, Image.new("RGB", (300, 200), "white"), (280, 0, 300, 60))
    strip = np.asarray(picture).astype(int)[3:12, 200:300]
    assert (np.abs(strip - SIGNATURE).max(2) < 25).any(1).all()
    assert near(picture, (240, 3), SIGNATURE)


def test_a_file_that_is_no_image_is_an_os_error(tmp_path):
    (tmp_path / "page.png").write_text("text")
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), (), (1, 1))
    with pytest.raises(OSError, match="cannot identify image"):
        annotate(tmp_path / "page.png", nothing, tmp_path / "picture.jpg")
