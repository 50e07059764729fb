"""Blank pages are laid onto filled ones whose place is known, and onto none that are another's."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.paperwork import ASPECT, KINDS, Blank, Filling, draw_blank
from gateway.forms.pages import decoded, open_page, turned_back, upright
from gateway.forms.registration import Registration, agreement, distortion, register

HEIGHT = 1170  # px
SHAPE = (1000, 707)
OFF = 4  # px at HEIGHT: 1/300 of the page


@pytest.fixture(scope="module")
def blank() -> Blank:
    return draw_blank(3, height=HEIGHT)


def filled(blank: Blank, seed: int) -> Filling:
    page = Filling(blank, np.random.default_rng(seed))
    page.entries()
    for field in blank.fields:
        page.mark(field)
    return page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_lies_where_it_was_put(blank, kind):
    page = filled(blank, list(KINDS).index(kind))
    pixels, truth = KINDS[kind](page.pixels, page.rng)
    reference = open_page(blank.pixels)
    laid = register(open_page(pixels), reference)
    assert isinstance(laid, Registration), laid
    fractions = np.array([[x, y] for field in blank.fields for x, y in
                          ((field.x0, field.y0), (field.x1, field.y1))])  # fmt: skip
    units = fractions / (ASPECT * 1000, 1000)
    at = apply(laid.matrix, units * reference.grey.shape[::-1])
    expected = apply(truth, units * (blank.pixels.shape[1], HEIGHT))
    assert np.linalg.norm(at - expected, axis=1).max() < OFF
    assert laid.agreement > 0.8 or kind in ("photo", "copy")


def test_quarter_turns_are_told(blank):
    reference = open_page(blank.pixels)
    for quarters, turned in ((1, 90), (2, 180), (3, 270)):
        page = open_page(np.ascontiguousarray(np.rot90(blank.pixels, -quarters)))
        laid = register(page, reference)
        assert isinstance(laid, Registration)
        assert laid.turned == turned


def test_what_is_not_the_form_does_not_match(blank):
    reference = open_page(blank.pixels)
    others = {
        "another form": draw_blank(4, height=HEIGHT).pixels,
        "its back": np.ascontiguousarray(blank.pixels[:, ::-1]),
        "white": np.full_like(blank.pixels, 255),
        "noise": np.random.default_rng(0).integers(0, 256, blank.pixels.shape).astype(np.uint8),
    }
    for name, pixels in others.items():
        assert isinstance(register(open_page(pixels), reference), str), name


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 2) after a homography, by its definition."""
    moved = np.c_[points, np.ones(len(points))] @ matrix.T
    return moved[:, :2] / moved[:, 2:]


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.eye(3), ""),
        ([[0, -1, 1000], [1, 0, 0], [0, 0, 1]], ""),  # a quarter turn
        ([[-1, 0, 707], [0, 1, 0], [0, 0, 1]], "mirrored"),
        (np.diag([0.3, 0.3, 1]), "0.30 to 0.30 times as large"),
        (np.diag([2.5, 2.5, 1]), "2.50 to 2.50 times as large"),
        (np.diag([1.0, 0.6, 1]), "stretched 1.67 times, limit 1.6"),
        ([[1, 0, 0], [0, 1, 0], [0, 0.0008, 1]], "one edge would be 1.80 times the opposite"),
        ([[1, 0, 0], [0, 1, 0], [0, -0.002, 1]], "bent over its edge"),
    ],
)
def test_a_homography_that_paper_cannot_have_is_refused(matrix, reason):
    said = distortion(np.array(matrix, np.float64), SHAPE, SHAPE)
    assert (reason in said) if reason else not said


def test_agreement_is_the_print_found_beyond_chance():
    printed, reached = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    seen = np.ones((10, 10), bool)
    printed[0] = True
    assert agreement(printed, reached, seen) == 0  # nothing there
    reached[:2] = True  # a fifth of the page, all of the print
    assert agreement(printed, reached, seen) == 1
    reached[0, :4] = False  # 6 of 10 found, and 16 of 100 by chance
    assert agreement(printed, reached, seen) == pytest.approx((0.6 - 0.16) / (1 - 0.16))
    assert agreement(printed, reached, seen & False) == 1  # nothing to be found


@pytest.mark.parametrize("suffix", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_page_lies_as_the_detector_sees_it(step, tmp_path, suffix, orientation):
    """Else marks and print would be of two different pages."""
    pixels = np.full((60, 80), 255, np.uint8)
    pixels[5:25, 5:15] = 0
    path = tmp_path / f"page.{suffix}"
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.convert("RGB").save(path, exif=exif)
    preprocess = step("document_preprocess")
    served = preprocess.read_pixels(preprocess.open_image(path.read_bytes()), 1.0, True)
    ours = decoded(path.read_bytes(), 1)
    assert ours.shape == served.shape
    assert np.abs(ours.astype(int) - served).max() < 40


def test_a_webp_whose_orientation_cannot_be_read_is_refused(tmp_path):
    image = Image.new("RGB", (30, 20))
    image.save(tmp_path / "plain.webp")
    assert decoded((tmp_path / "plain.webp").read_bytes(), 1).shape == (20, 30)
    exif = image.getexif()
    exif[0x0112] = 3
    image.save(tmp_path / "turned.webp", exif=exif)
    with pytest.raises(ValueError, match="a WebP file with EXIF data"):
        decoded((tmp_path / "turned.webp").read_bytes(), 1)


def test_pages_of_a_tiff_are_taken_by_number(tmp_path):
    images = [Image.fromarray(np.full((20, 30), shade, np.uint8)) for shade in (10, 200)]
    images[0].save(tmp_path / "two.tiff", save_all=True, append_images=images[1:])
    data = (tmp_path / "two.tiff").read_bytes()
    assert decoded(data, 1)[0, 0] == 10
    assert decoded(data, 2)[0, 0] == 200
    for file, page in ((data, 3), (b"", 1), (b"no image", 1)):
        with pytest.raises(ValueError, match="no image"):
            decoded(file, page)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_boxes_of_an_upright_page_are_turned_back(tmp_path, turned):
    pixels = np.full((200, 300), 255, np.uint8)
    pixels[20:50, 40:120] = 0
    turned_page = np.rot90(pixels, -turned // 90)
    Image.fromarray(turned_page).save(tmp_path / "page.png")
    stood = decoded(upright((tmp_path / "page.png").read_bytes(), 1, turned), 1)
    assert np.abs(stood.astype(int) - pixels).max() < 30
    rows, columns = np.nonzero(turned_page < 128)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    size = turned_page.shape[::-1]
    assert turned_back((40, 20, 120, 50), turned, size) == expected
