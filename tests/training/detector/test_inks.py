import numpy as np
import pytest

from training.detector.inks import (
    SIGNATURE,
    STAMP,
    CutOut,
    crossed,
    cut_outs,
    ink_of,
    light_taken,
    paste,
    press,
)
from training.detector.labels import read_pages
from training.detector.views import cache

BLUE = np.array([40, 60, 160], np.float32)


def stroke(paper=200, size=(40, 60)):
    """Blue ink in the middle of grey paper."""
    crop = np.full((*size, 3), paper, np.uint8)
    crop[15:25, 10:50] = BLUE
    return crop


def test_ink_takes_light_and_paper_none():
    takes = light_taken(stroke())
    assert (takes[:10] == 0).all()
    # red: 1 - 40/200 = 0.8 of the light, of which the paper's grain is taken off
    assert takes[20, 30].tolist() == pytest.approx([(0.8 - 0.08) / 0.92 * 255, 0.62 / 0.92 * 255,
                                                    0.12 / 0.92 * 255], abs=1)  # fmt: skip


def test_pressed_ink_leaves_the_print_beneath():
    pixels = np.full((100, 100, 3), 250, np.uint8)
    pixels[30:32] = 20  # a line of print
    takes = np.full((40, 60, 3), 128, np.uint8)
    press(pixels, takes, (10, 20), None)
    assert pixels[10, 10].tolist() == [250] * 3
    assert pixels[25, 30].tolist() == pytest.approx([124] * 3, abs=1)
    assert pixels[30, 30].tolist() == pytest.approx([10] * 3, abs=1)


def test_other_ink_has_its_own_colour_on_white():
    pixels = np.full((50, 70, 3), 255, np.uint8)
    press(pixels, np.full((40, 60, 3), 255, np.uint8), (0, 0), BLUE)
    assert pixels[10, 10].tolist() == pytest.approx(BLUE.tolist(), abs=1)


def test_the_ink_of_a_crop_is_found():
    assert ink_of(stroke()).tolist() == pytest.approx(BLUE.tolist())


def test_marks_are_cut_out_of_pages(marked, tmp_path):
    from inprocess.steps import fit as fits

    pages = cache(read_pages(marked, "train"), tmp_path, fits.Fit(300, 400, "upright"), "")
    marks = cut_outs(pages)
    assert len(marks) == 12
    ring = next(mark for mark in marks if mark.class_id == STAMP)
    assert ring.share == pytest.approx((65 / 300, 65 / 400))
    assert ring.takes[32, 32].max() == 0  # paper within the ring
    assert ring.takes[32, 2:5].max() > 150


def test_a_mark_under_another_is_not_cut_out():
    boxes = np.array([[0.1, 0.1, 0.3, 0.3], [0.2, 0.1, 0.4, 0.3], [0.6, 0.6, 0.7, 0.7]])
    assert [crossed(number, boxes) for number in range(3)] == [True, True, False]


def mark(class_id):
    takes = np.zeros((40, 60, 3), np.uint8)
    takes[15:25, 10:50] = 255
    return CutOut(class_id, takes, (0.2, 0.1))


NOTHING = (np.empty(0, np.int64), np.empty((0, 4), np.float32))


def test_a_pasted_mark_is_boxed_where_its_ink_is():
    for seed in range(20):
        pixels = np.full((400, 300, 3), 255, np.uint8)
        ids, xyxy = paste(pixels, *NOTHING, mark(SIGNATURE), np.random.default_rng(seed))
        assert ids.tolist() == [SIGNATURE]
        rows, columns = np.nonzero(pixels.min(axis=2) < 200)
        x0, y0, x1, y1 = xyxy[0]
        assert x0 <= columns.min()
        assert columns.max() < x1
        assert y0 <= rows.min()
        assert rows.max() < y1


def test_a_signature_crosses_the_stamp_it_is_told_to():
    stamp = np.array([100, 150, 180, 230], np.float32)
    matched = 0
    for seed in range(40):
        pixels = np.full((400, 300, 3), 255, np.uint8)
        pixels[150:230, 100:180] = (200, 30, 60)
        before = pixels.copy()
        ids, xyxy = paste(
            pixels, np.array([STAMP]), stamp[None], mark(SIGNATURE), np.random.default_rng(seed),
            over=stamp,
        )  # fmt: skip
        assert ids.tolist() == [STAMP, SIGNATURE]
        sides = np.minimum(xyxy[1, 2:], stamp[2:]) - np.maximum(xyxy[1, :2], stamp[:2])
        assert (sides > 0).all()
        new = pixels[(pixels != before).any(axis=2) & (before == 255).all(axis=2)]
        matched += len(new) > 0 and np.abs(new.min(axis=0).astype(int) - (200, 30, 60)).max() < 12
    assert 5 < matched < 35  # half of the time, where ink falls beside the stamp


def test_marks_of_one_class_keep_apart():
    pixels = np.full((400, 300, 3), 255, np.uint8)
    everywhere = np.array([[0, 0, 300, 400]], np.float32)
    small = CutOut(STAMP, mark(STAMP).takes, (0.9, 0.9))
    rng = np.random.default_rng(0)
    ids, _ = paste(pixels, np.array([STAMP]), everywhere, small, rng)
    assert ids.tolist() == [STAMP]
    assert (pixels == 255).all()
