import cv2
import numpy as np
import pytest

from inprocess.steps import fit as fits
from training.detector.labels import Labelled, read_pages
from training.detector.views import (
    Page,
    View,
    _fitted,
    _quarter_turns,
    _tilted,
    _zoomed,
    cache,
    plain_view,
    read_cached,
    view,
)

FIT = fits.Fit(150, 200, "upright")
NONE = np.empty((0, 4), np.float32)


def page_of(xyxy, ignore=NONE):
    ids = np.zeros(len(xyxy), np.int64)
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    return Page(None, "d", "", ids, boxes, np.array(ignore, np.float32), np.ones(2, bool))


def fitted_view(pixels, xyxy, ignore=NONE) -> View:
    page = page_of(xyxy, ignore)
    return _fitted(pixels, page, page.class_ids, page.xyxy, page.ignore, FIT)


def test_pages_are_shrunk_once_by_area(marked, tmp_path):
    pages = read_pages(marked, "train")
    fit = fits.Fit(100, 133, "upright")
    first, *_ = cache(pages, tmp_path, fit, "marked")
    pixels = read_cached(first.file)
    assert pixels.shape == (200, 150, 3)  # 1.5 of the input
    whole = cv2.cvtColor(cv2.imread(str(pages[0].path)), cv2.COLOR_BGR2RGB)
    expected = cv2.resize(whole, (150, 200), interpolation=cv2.INTER_AREA)
    assert np.abs(pixels.astype(int) - expected).mean() < 2  # JPEG
    np.testing.assert_allclose(first.xyxy * 300, pages[0].xyxy * (1, 0.75, 1, 0.75), rtol=1e-5)

    before = first.file.stat().st_mtime_ns
    assert cache(pages, tmp_path, fit, "marked")[0].file.stat().st_mtime_ns == before
    assert len(list(tmp_path.iterdir())) == 6


def test_a_page_smaller_than_the_input_stays_as_it_is(marked, tmp_path):
    first, *_ = cache(read_pages(marked), tmp_path, fits.Fit(1000, 1400, "upright"), "marked")
    assert read_cached(first.file).shape == (400, 300, 3)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    page = Labelled(tmp_path / "a.jpg", "a", (1, 1), np.empty(0, np.int64), NONE, NONE)
    with pytest.raises(ValueError, match=r"a\.jpg: no image"):
        cache([page], tmp_path / "cache", FIT, "")


def test_a_plain_view_is_what_serving_shows_the_network(marked, tmp_path):
    (page, *_), (truth, *_) = cache(read_pages(marked), tmp_path, FIT, ""), read_pages(marked)
    seen = plain_view(page, FIT)
    assert seen.pixels.shape == (200, 150, 3)
    np.testing.assert_allclose(seen.xyxy, truth.xyxy / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("right_edge", "kept", "ignored"), [(1.4, 1, 0), (1.6, 0, 1), (5.9, 0, 0)],
    ids=["half in view", "less", "hardly any"],
)  # fmt: skip
def test_a_box_mostly_out_of_view_is_ignored(right_edge, kept, ignored):
    seen = fitted_view(np.zeros((400, 300, 3), np.uint8), [[0.5, 0.2, right_edge, 0.4]])
    assert (len(seen.xyxy), len(seen.ignore)) == (kept, ignored)
    for box in (*seen.xyxy, *seen.ignore):
        np.testing.assert_allclose(box, [75, 40, 150, 80])


def test_a_box_of_a_few_pixels_is_ignored():
    seen = fitted_view(np.zeros((400, 300, 3), np.uint8), [[0.5, 0.5, 0.52, 0.6]])  # 3 px wide
    assert (len(seen.xyxy), len(seen.ignore)) == (0, 1)


def blob(x, y, w, h, shape=(400, 300)):
    """A black rectangle on white, and its box as shares."""
    pixels = np.full((*shape, 3), 255, np.uint8)
    pixels[y : y + h, x : x + w] = 0
    box = np.array([[x, y, x + w, y + h]], np.float64)
    return pixels, box / np.tile(shape[::-1], 2)


def extent(pixels):
    rows, columns = np.nonzero(pixels[..., 0] < 128)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_box_turns_with_its_page(quarters):
    pixels, box = blob(40, 60, 80, 30)
    pixels = np.rot90(pixels, -quarters)
    size = np.tile(pixels.shape[1::-1], 2)
    np.testing.assert_allclose(_quarter_turns(box, quarters)[0] * size, extent(pixels))


def test_a_box_tilts_with_its_page():
    pixels, box = blob(40, 60, 80, 30)
    pixels, moved = _tilted(pixels, box, 3.0)
    np.testing.assert_allclose(moved[0] * (300, 400, 300, 400), extent(pixels), atol=3)


def test_a_box_is_zoomed_with_its_page():
    for seed in range(20):
        pixels, box = blob(140, 190, 20, 20)
        frame, moved = _zoomed(pixels, box, np.random.default_rng(seed))
        inside = frame[..., 0].copy()
        x0, y0, x1, y1 = np.round(moved[0] * np.tile(frame.shape[1::-1], 2)).astype(int)
        if x0 >= 0 and y0 >= 0 and x1 <= frame.shape[1] and y1 <= frame.shape[0]:
            assert (inside[y0:y1, x0:x1] == 0).all()
            assert x1 - x0 == y1 - y0 == 20


def test_a_view_depends_on_its_seed_alone(marked, tmp_path):
    page, *_ = cache(read_pages(marked), tmp_path, FIT, "")

    def seen(seed):
        rng = np.random.default_rng(seed)
        return view(page, read_cached(page.file), page.class_ids, page.xyxy, FIT, 1.0, rng)

    np.testing.assert_array_equal(seen(3).pixels, seen(3).pixels)
    np.testing.assert_array_equal(seen(3).xyxy, seen(3).xyxy)
    assert not np.array_equal(seen(3).pixels, seen(4).pixels)


def test_the_same_page_many_times_is_shrunk_without_a_quarrel(marked, tmp_path):
    page = read_pages(marked)[0]
    cached = cache([page] * 64, tmp_path, FIT, "")
    assert {each.file for each in cached} == set(tmp_path.iterdir())
