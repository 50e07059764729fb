import cv2
import numpy as np
import pytest

from training.detector import scan

DEFECTS = [
    scan.photocopy, scan.fax_bands, scan.black_edges, scan.specks, scan.streaks, scan.show_through,
    scan.old_paper, scan.uneven_light, scan.defocus, scan.motion_blur, scan.low_resolution,
    scan.sensor_noise, scan.jpeg_noise, scan.grey,
]  # fmt: skip


def a_page() -> np.ndarray:
    page = np.full((160, 120, 3), 240, np.uint8)
    cv2.putText(page, "ink", (20, 90), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (30, 40, 120), 4)
    return page


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_defect_keeps_shape_and_input_and_repeats(defect, strength):
    page = a_page()
    first = defect(page, strength, np.random.default_rng(0))
    again = defect(page, strength, np.random.default_rng(0))
    assert (first.shape, first.dtype) == (page.shape, np.uint8)
    np.testing.assert_array_equal(page, a_page())
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_at_full_strength_shows(defect):
    changed = defect(a_page(), 1.0, np.random.default_rng(3))
    assert (changed != a_page()).any()


def test_a_photocopy_has_no_colour_and_few_greys():
    copy = scan.photocopy(a_page(), 0.2, np.random.default_rng(1))
    np.testing.assert_array_equal(copy[..., 0], copy[..., 2])
    assert ((copy == 0) | (copy == 255)).mean() > 0.9


def test_a_photocopy_of_coloured_paper_is_light_where_nothing_is_written():
    page = np.full((160, 120, 3), (150, 205, 190), np.uint8)
    page[60:100, 20:100] = 20
    for seed in range(5):
        copy = scan.photocopy(page, 0.2, np.random.default_rng(seed))
        assert np.median(copy[:50]) > 150
        assert np.median(copy[65:95, 25:95]) == 0


def test_show_through_is_mirrored():
    page = np.full((40, 60, 3), 255, np.uint8)
    page[:, :10] = 0  # a dark left edge
    seen = scan.show_through(page, 1.0, np.random.default_rng(0))
    assert seen[:, -5:].max() < 230
    assert seen[:, 25:35].min() > 250


def test_a_page_is_squashed_to_a_square():
    square = scan.Source((), (), skew=0, keystone=0, square=1, border=(0, 1), shrink=0)
    scanned, _ = scan.digitise(a_page(), square, np.random.default_rng(0))
    assert scanned.shape == (160, 160, 3)


def test_the_homography_says_where_a_point_of_the_page_went():
    page = np.full((300, 200, 3), 255, np.uint8)
    cv2.circle(page, (140, 60), 6, (0, 0, 0), -1)
    for name in ("phone", "archive", "flatbed"):
        source = scan.SOURCES[name]
        bare = scan.Source((), (), source.skew, source.keystone, 0.5, (255, 256), 0)
        for seed in range(8):
            scanned, matrix = scan.digitise(page, bare, np.random.default_rng(seed))
            (where,) = cv2.perspectiveTransform(np.array([[[140, 60]]], np.float32), matrix)[0]
            rows, cols = np.nonzero(scanned[..., 0] < 128)
            np.testing.assert_allclose([cols.mean(), rows.mean()], where, atol=1.5)
