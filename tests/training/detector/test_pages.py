import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from fontTools.ttLib import TTFont

from training.detector import scan
from training.detector.labels import CLASSES, read_yolo
from training.detector.pages import compose, handwriting, samples, stamps, templates, text
from training.detector.pages.compose import POOLS, Mark, crowded, draw_page, extent
from training.detector.pages.sheet import press
from training.detector.pages.splits import write_splits

PLAIN = scan.Source(1.0, (), (), skew=0, keystone=0, square=0, border=(255, 256), shrink=0)


def test_every_font_is_installed_and_has_its_signs():
    wanted = {
        "hand": "Rec'd 3/26/90 #417", "cyrillic": "Общество Ёжъ №", "cyrillic_bold": "ПЕЧАТЬ Ёъ №",
        "devanagari": "हस्ताक्षर", "arabic": "توقيع", "thai": "ลายมือชื่อ", "chinese": "银行账户合同",
        "script": "Diploma 1974",
    }  # fmt: skip
    for role, files in text.FONTS.items():
        for path in files:
            signs = TTFont(text.font_file(path), fontNumber=0).getBestCmap()
            sample = wanted.get(role, "Žižková Łódź Šđč ñ ß é ü ç 0,95")
            lacking = {sign for sign in sample if ord(sign) not in signs}
            assert not lacking, path


def test_a_font_that_is_missing_is_named_with_what_installs_it():
    with pytest.raises(FileNotFoundError, match=r"fontpkg-nothing of requirements/fonts\.txt"):
        text.font("fontpkg_nothing/files/Nothing.ttf", 12)
    with pytest.raises(FileNotFoundError, match=r"fontpkg-lato .* pip install --no-deps"):
        text.font("fontpkg_lato/files/Lato-Sideways.ttf", 12)


def test_the_same_arguments_draw_the_same_page():
    first, again = draw_page("train", 4, seed=1), draw_page("train", 4, seed=1)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.xyxy, again.xyxy)


def test_another_seed_draws_another_page():
    first, other = draw_page("train", 4, seed=1), draw_page("train", 4, seed=2)
    assert first.template != other.template


def test_an_unknown_split_is_refused():
    with pytest.raises(KeyError, match="holdout"):
        draw_page("holdout", 0, seed=0)


def test_boxes_lie_on_their_page():
    for index in range(12):
        page = draw_page("validation", index, seed=3)
        height, width = page.pixels.shape[:2]
        assert (page.xyxy[:, :2] >= 0).all()
        assert (page.xyxy[:, 2:] <= (width, height)).all()
        assert (page.xyxy[:, 2:] > page.xyxy[:, :2]).all()


def test_a_box_is_the_extent_of_the_ink():
    pixels = np.full((100, 200, 3), 255, np.uint8)
    ink = np.zeros((20, 30), np.float32)
    ink[5:15, 10:30] = 1  # columns 10..29, rows 5..14
    points = press(pixels, ink, (0, 0, 0), (40, 50))
    rows, cols = np.nonzero(pixels[..., 0] == 0)
    assert (cols.min(), rows.min(), cols.max(), rows.max()) == (50, 55, 69, 64)
    box = extent(points, np.eye(3), np.ones((100, 200), bool))
    np.testing.assert_allclose(box, [50.5, 55.5, 69.5, 64.5])  # pixel centres


def test_a_box_follows_the_scan():
    """Twice as wide, turned a quarter: x' = 100 - y, y' = 2 x."""
    points = np.array([[10, 20], [30, 40]], np.float32) - 0.5
    turn = np.array([[0, -1, 100], [2, 0, 0], [0, 0, 1]], np.float64)
    box = extent(points, turn, np.ones((200, 200), bool))
    np.testing.assert_allclose(box, [60, 20, 80, 60])


def test_ink_beyond_the_edge_does_not_widen_a_box():
    points = np.stack([np.arange(80, 120), np.full(40, 50)], axis=1).astype(np.float32)
    points[::2, 1] += 10
    box = extent(points, np.eye(3), np.ones((100, 100), bool))
    np.testing.assert_allclose(box, [80.5, 50.5, 99.5, 60.5])


def test_a_mark_that_is_mostly_cut_off_has_no_box():
    points = np.stack([np.arange(90, 190), np.arange(100)], axis=1).astype(np.float32)
    assert extent(points, np.eye(3), np.ones((100, 100), bool)) is None
    assert extent(points[:0], np.eye(3), np.ones((100, 100), bool)) is None


def test_a_box_holds_the_ink_that_a_copy_leaves_and_lost_ink_has_none():
    points = np.stack(np.meshgrid(np.arange(40), np.arange(20)), axis=-1).reshape(-1, 2)
    points = points.astype(np.float32)
    seen = np.zeros((100, 100), bool)
    seen[:10, :30] = True  # 300 of the 800 pixels
    np.testing.assert_allclose(extent(points, np.eye(3), seen), [0.5, 0.5, 29.5, 9.5])
    seen[:, 25:] = False  # 250, less than 0.35 of them
    assert extent(points, np.eye(3), seen) is None
    seen[:8] = True  # 320 of them, but 7 high from centre to centre
    seen[8:] = False
    assert extent(points, np.eye(3), seen) is None


def test_a_mark_comes_off_the_page_from_under_others():
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 256, (40, 60, 3), np.uint8)
    other, ink = np.zeros((2, 20, 30), np.float32)
    ink[2:, :20], other[:, 10:] = 0.9, 0.7
    expected, before = pixels.copy(), pixels.copy()
    mark = Mark.of(0, press(pixels, ink, (20, 20, 24), (5, 5)), before, pixels)
    for page in (pixels, expected):
        press(page, other, (30, 80, 160), (12, 8))
    inked = pixels.copy()
    off = mark.off(pixels).astype(int)
    assert np.abs(inked.astype(int) - expected).max() > 100
    assert np.abs(off - expected).max() <= 8  # ink of 0.17 leaves a sixth of the grey levels
    np.testing.assert_array_equal(pixels, inked)


@pytest.mark.parametrize(
    ("class_id", "box", "expected"),
    [
        (0, [30, 20, 40, 30], True),  # half of it lies on the mark
        (0, [33.5, 20, 43.5, 30], False),  # 15 of 100
        (0, [0, 0, 100, 100], True),  # the mark lies in it
        (0, [35, 40, 45, 50], False),  # below
        (1, [30, 20, 40, 30], False),  # a stamp may lie on a signature
    ],
)
def test_marks_of_one_class_keep_apart(class_id, box, expected):
    points = np.array([[15, 10], [35, 40]], np.float32)
    mark = Mark(0, points, (), np.empty((0, 3)))
    nothing = Mark(0, points[:0], (), np.empty((0, 3)))
    assert crowded(class_id, np.array(box, np.float32), [nothing, mark]) is expected


def test_a_mark_that_cannot_be_told_is_not_on_the_page(monkeypatch):
    inked = draw_page("test", 4, seed=0, source=PLAIN)
    monkeypatch.setattr(compose, "VISIBLE", 1.1)
    bare = draw_page("test", 4, seed=0, source=PLAIN)
    assert len(inked.xyxy) > 1
    assert len(bare.xyxy) == 0
    for left, top, right, foot in inked.xyxy.astype(int):
        part = np.s_[top : foot + 1, left : right + 1]
        assert bare.pixels[part].mean() > inked.pixels[part].mean() + 2


def test_pages_without_ink_have_no_boxes(monkeypatch):
    """The scan is compared with one of the same page unsigned: no ink, no difference."""
    points = np.array([[200, 200], [300, 300]], np.float32)
    for module, name in ((compose, "press"), (stamps, "stick")):
        monkeypatch.setattr(module, name, lambda *args: points)
    assert not any(len(draw_page("test", index, seed=0).xyxy) for index in range(6))


def test_a_seal_stuck_on_is_boxed_where_it_hides_the_page():
    for seed in range(4):  # with ribbons and without
        pixels = np.full((300, 300, 3), 7, np.uint8)  # no foil is as dark
        rng = np.random.default_rng(seed)
        points = stamps.stick(pixels, stamps.design(5), (160, 140), rng).astype(int)
        changed = np.zeros((300, 300), bool)
        changed[points[:, 1], points[:, 0]] = True
        np.testing.assert_array_equal(changed, (pixels != 7).any(axis=2))
        assert changed[140, 160]
        assert np.ptp(points, axis=0).min() > 30


def test_a_seal_at_the_edge_is_cut_off():
    pixels = np.full((300, 300, 3), 255, np.uint8)
    points = stamps.stick(pixels, stamps.design(5), (295, 4), np.random.default_rng(0))
    assert points.min() >= 0
    assert points.max() == 299


def test_ink_off_the_page_leaves_it_as_it_was():
    pixels = np.full((50, 50, 3), 200, np.uint8)
    points = press(pixels, np.ones((10, 10), np.float32), (0, 0, 0), (60, 5))
    assert points.shape == (0, 2)
    np.testing.assert_array_equal(pixels, 200)


def test_ink_darkens_print_and_never_covers_it():
    pixels = np.zeros((10, 10, 3), np.uint8)
    press(pixels, np.ones((10, 10), np.float32), (40, 80, 200), (0, 0))
    np.testing.assert_array_equal(pixels, 0)


def test_no_template_writer_or_stamp_serves_two_splits(tmp_path):
    write_splits(tmp_path, seed=5, counts={"train": 12, "validation": 12, "test": 12})
    used: dict[str, dict[str, set]] = {}
    for split, pages in json.loads((tmp_path / "sources.json").read_text())["splits"].items():
        used[split] = {
            "template": {page["template"] for page in pages.values()},
            "writers": {writer for page in pages.values() for writer in page["writers"]},
            "stamps": {stamp for page in pages.values() for stamp in page["stamps"]},
        }
    for source in ("template", "writers", "stamps"):
        train, validation, test = (used[split][source] for split in POOLS)
        assert train
        assert not train & validation
        assert not train & test
        assert not validation & test


def test_written_pages_read_back_with_their_boxes(tmp_path):
    command = "training.detector.pages --seed 6 --validation 3 --out"
    subprocess.run([sys.executable, "-m", *command.split(), tmp_path], check=True)
    for index, page in enumerate(read_yolo(tmp_path, "validation")):
        drawn = draw_page("validation", index, seed=6)
        assert page.size == drawn.pixels.shape[1::-1]
        np.testing.assert_array_equal(page.class_ids, drawn.class_ids)
        np.testing.assert_allclose(page.xyxy, drawn.xyxy, atol=0.01)


def test_every_template_draws():
    """A template that no id reaches, or that fails, would be missed by chance draws."""
    seen = {}
    for template_id in range(300):
        seen.setdefault(templates.kind(template_id), template_id)
    assert set(seen) == set(templates.TEMPLATES)
    for name, template_id in seen.items():
        rng = np.random.default_rng(template_id)
        sheet = templates.Sheet(700, 1000, templates.look(template_id), rng)
        templates.TEMPLATES[name][0](sheet, rng)
        assert np.asarray(sheet.image).min() < 200, name


def test_figures_are_written_stroke_by_stroke_from_left_to_right():
    """4 and 5 take two strokes, the slash one, a word one; a sign without strokes is left out."""
    plan = handwriting.line_plan(handwriting.writer(3), "4/5~ May", np.random.default_rng(0))
    assert len(plan) == 2 + 1 + 2 + 1
    four, slash, five, word = (
        np.concatenate(plan[i:j]) for i, j in ((0, 2), (2, 3), (3, 5), (5, 6))
    )
    middles = [run[:, 0].mean() for run in (four, slash, five, word)]
    assert middles == sorted(middles)


def test_a_writer_writes_alike_and_two_writers_do_not():
    hand, other = handwriting.writer(3), handwriting.writer(4)
    assert hand == handwriting.writer(3)
    first, again = (
        handwriting.signature_plan(hand, np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert [len(run) for run in first] == [len(run) for run in again]
    assert max(np.abs(a - b).max() for a, b in zip(first, again, strict=True)) < 1.5
    assert hand.gesture != other.gesture


def test_one_stroke_ends_at_its_target():
    """The displacement of a single sigma-lognormal stroke is its chord."""
    targets = np.array([[0, 0, 0], [3.0, 4.0, 1.2]])
    path = handwriting.trace(targets, overlap=0.4, sigma=0.2)
    np.testing.assert_allclose(path[0, :2], [0, 0], atol=0.01)
    np.testing.assert_allclose(path[-1, :2], [3, 4], atol=0.03)


def test_a_stroke_is_slow_at_its_ends():
    path = handwriting.trace(np.array([[0, 0, 0], [5.0, 0.0, 0.3]]), overlap=0.4, sigma=0.2)
    assert path[:, 2].argmax() not in (0, len(path) - 1)
    assert path[0, 2] < path[:, 2].max() / 20
    assert path[-1, 2] < path[:, 2].max() / 20


def test_a_signature_keeps_to_its_size():
    for writer_id in range(20):
        hand = handwriting.writer(writer_id)
        plan = handwriting.signature_plan(hand, np.random.default_rng(0))
        ink = handwriting.draw(hand, plan, (160, 60), pen=2)
        assert ink.shape[0] <= 60 + 8
        assert ink.shape[1] <= 160 + 8
        assert ink.max() > 0.5


def test_every_kind_of_stamp_prints():
    kinds = {}
    for design_id in range(200):
        kinds.setdefault(stamps.design(design_id).kind, design_id)
    assert set(kinds) == set(stamps.KINDS)
    for kind, design_id in kinds.items():
        ink = stamps.draw(stamps.design(design_id), 1.0, np.random.default_rng(0))
        assert ink.dtype == np.float32
        assert 0 <= ink.min() <= ink.max() <= 1
        assert (ink > 0.3).mean() > 0.01, kind


def test_a_quarter_turn_swaps_a_patch():
    ink = np.zeros((10, 30), np.float32)
    ink[:, :5] = 1
    turned = stamps.rotated(ink, 90)  # counter-clockwise: the left end comes to the foot
    assert abs(turned.shape[0] - 30) <= 1
    assert turned[-4].mean() > 0.8
    assert turned[3].mean() < 0.1


@pytest.mark.parametrize(("suffix", "mode"), [("jpg", "RGB"), ("tiff", "1"), ("png", "P")])
def test_a_sample_is_saved_as_its_suffix_says(tmp_path, suffix, mode):
    from PIL import Image

    page = Image.new("RGB", (80, 100), (250, 250, 250))
    samples.save(page, tmp_path / f"page.{suffix}", dpi=150)
    with Image.open(tmp_path / f"page.{suffix}") as saved:
        assert (saved.mode, saved.size) == (mode, (80, 100))
        assert round(saved.info["dpi"][0]) == 150


def test_a_plain_scan_of_a_page_is_the_page():
    page = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    page = cv2.GaussianBlur(page, (0, 0), 3)
    rng = np.random.default_rng(1)
    scanned, matrix = scan.digitise(page, PLAIN, 64, rng)
    assert scanned.shape == (64, 48, 3)
    corners = cv2.perspectiveTransform(np.array([[[0, 0]], [[48, 64]]], np.float32), matrix)
    assert np.abs(corners[:, 0] - [[0, 0], [48, 64]]).max() < 4  # a shift and a zoom remain


def test_classes_are_in_the_contracts_order():
    assert CLASSES == ("signature", "stamp")
