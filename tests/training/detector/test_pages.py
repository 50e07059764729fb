import dataclasses
import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from training.detector import scan
from training.detector.labels import CLASSES, read_pages
from training.detector.pages import (
    art,
    compose,
    designs,
    handwriting,
    houses,
    invoices,
    lookalikes,
    printed,
    samples,
    seals,
    stamps,
    templates,
    text,
)
from training.detector.pages.compose import POOLS, Mark, crowded, draw_page, extent
from training.detector.pages.sheet import Sheet, press
from training.detector.pages.traits import Traits, weighted

PLAIN = scan.Source((), (), skew=0, keystone=0, square=0, border=(255, 256), shrink=0)


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
    with pytest.raises(FileNotFoundError, match=r"fontpkg-arimo .* pip install --no-deps"):
        text.font("fontpkg_arimo/files/Arimo-Sideways.ttf", 12)


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


WHITE = np.full((100, 200, 3), 255, np.uint8)
ALL = np.full((100, 200), 255, np.uint8)  # every pixel changed as much as it can


def block(left, top, right, foot):
    """(n, 2) x, y of every pixel of a block."""
    columns, rows = np.meshgrid(np.arange(left, right), np.arange(top, foot))
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)


def seen_by(points, shown=None, bare=WHITE, changed=ALL):
    return extent(points, np.ones(len(points), bool) if shown is None else shown, bare, changed)


def test_pressed_ink_is_where_its_points_say():
    pixels = WHITE.copy()
    ink = np.zeros((20, 30), np.float32)
    ink[5:15, 10:30] = 1  # columns 10..29, rows 5..14
    points = press(pixels, ink, (0, 0, 0), (40, 50))
    rows, cols = np.nonzero(pixels[..., 0] == 0)
    assert (cols.min(), rows.min(), cols.max(), rows.max()) == (50, 55, 69, 64)
    np.testing.assert_array_equal(points, block(50, 55, 70, 65))


def test_a_box_is_the_extent_of_the_ink_that_lies_on_the_scan():
    box, clear = seen_by(block(50, 55, 70, 65))
    np.testing.assert_array_equal(box, [50, 55, 69, 64])
    assert clear
    box, clear = seen_by(block(180, 40, 230, 60))  # 20 of its 50 columns
    np.testing.assert_array_equal(box, [180, 40, 199, 59])
    assert clear


def test_a_mark_that_is_mostly_cut_off_is_ignored_and_one_that_is_gone_forgotten():
    box, clear = seen_by(block(190, 40, 230, 60))  # 10 of 40 columns, under VISIBLE
    np.testing.assert_array_equal(box, [190, 40, 199, 59])
    assert not clear
    assert seen_by(block(200, 40, 230, 60)) == (None, False)
    assert seen_by(block(0, 0, 0, 0)) == (None, False)


def test_a_box_holds_the_ink_that_a_copy_leaves():
    changed = np.zeros((100, 200), np.uint8)
    changed[:10, :30] = 60
    box, clear = seen_by(block(0, 0, 40, 20), changed=changed)  # 300 of its 800 pixels
    np.testing.assert_array_equal(box, [0, 0, 29, 9])
    assert clear
    changed[:, 25:] = 0  # 250, less than 0.35 of them: all of it is ignored
    box, clear = seen_by(block(0, 0, 40, 20), changed=changed)
    np.testing.assert_array_equal(box, [0, 0, 39, 19])
    assert not clear


def test_what_other_ink_hides_is_not_seen():
    points = block(0, 0, 40, 20)
    box, clear = seen_by(points, points[:, 0] < 20)
    np.testing.assert_array_equal(box, [0, 0, 19, 19])
    assert clear
    assert seen_by(points, points[:, 0] < 2) == (None, False)  # 0.05 of it, under TRACE


def test_a_small_mark_is_ignored():
    assert 1 < compose.SMALLEST * 200 < 2
    assert not seen_by(block(10, 10, 12, 40))[1]  # 1 px from centre to centre
    assert seen_by(block(10, 10, 13, 40))[1]


def test_a_mark_needs_contrast_to_what_lies_below():
    """A checkerboard below deviates by 127; ink that changes it by less than 1.5 times that is no
    label, and on white paper it is.
    """
    checks = WHITE.copy()
    checks[(np.indices((100, 200)) // 4).sum(axis=0) % 2 == 0] = 0
    points = block(10, 10, 50, 50)
    changed = np.full((100, 200), 180, np.uint8)
    assert not seen_by(points, bare=checks, changed=changed)[1]
    changed[:] = 200
    assert seen_by(points, bare=checks, changed=changed)[1]
    changed[:] = 30
    assert seen_by(points, changed=changed)[1]
    changed[:] = 20  # hardly seen on white either
    assert not seen_by(points, changed=changed)[1]


def test_a_mark_knows_where_others_hide_it():
    paper = compose.Paper(WHITE.copy(), 1.0, "letter", POOLS["train"])
    ink = np.ones((10, 20), np.float32)
    assert paper.mark(0, "", (ink, (40, 60, 200), (30, 30), 1.0))
    paper.write(ink[:, :10], (0, 0, 0), (30, 30))
    (mark,) = paper.marks
    np.testing.assert_array_equal(mark.visible(paper.pixels), mark.points[:, 0] >= 40)
    assert (paper.bare[30:40, 30:40] == 0).all()
    assert (paper.bare[30:40, 40:50] == 255).all()


@pytest.mark.parametrize(
    ("class_id", "box", "expected"),
    [
        (0, [30, 20, 40, 30], True),  # half of it lies on the mark
        (0, [33.5, 20, 43.5, 30], False),  # 15 of 100
        (0, [0, 0, 100, 100], True),  # the mark lies in it
        (0, [35, 40, 45, 50], False),  # below
        (0, [15, 29, 35, 61], False),  # below it in a column: 11 of 30 rows
        (0, [15, 26, 35, 58], True),  # 14 of 30
        (1, [30, 20, 40, 30], False),  # a stamp may lie on a signature
    ],
)
def test_marks_of_one_class_keep_apart(class_id, box, expected):
    points = np.array([[15, 10], [35, 40]], np.float32)
    mark = Mark(0, "", points, np.empty((0, 3)))
    assert crowded(class_id, np.array(box, np.float32), [mark]) is expected


def test_a_page_without_marks_has_no_boxes(monkeypatch):
    assert len(draw_page("test", 4, seed=0, source=PLAIN).xyxy) > 0
    monkeypatch.setattr(compose.Paper, "mark", lambda *args: False)
    monkeypatch.setattr(compose.Paper, "add", lambda *args: None)
    bare = draw_page("test", 4, seed=0, source=PLAIN)
    assert len(bare.xyxy) == len(bare.ignore) == 0


def test_a_seal_stuck_on_is_boxed_where_it_hides_the_page():
    for seed in range(4):  # with ribbons and without
        pixels = np.full((300, 300, 3), 7, np.uint8)  # no foil is as dark
        rng = np.random.default_rng(seed)
        points = stamps.stick(pixels, designs.design(5), (160, 140), rng).astype(int)
        changed = np.zeros((300, 300), bool)
        changed[points[:, 1], points[:, 0]] = True
        np.testing.assert_array_equal(changed, (pixels != 7).any(axis=2))
        assert changed[140, 160]
        assert np.ptp(points, axis=0).min() > 30


def test_a_seal_at_the_edge_is_cut_off():
    pixels = np.full((300, 300, 3), 255, np.uint8)
    points = stamps.stick(pixels, designs.design(5), (295, 4), np.random.default_rng(0))
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


def test_no_template_writer_or_stamp_serves_two_splits():
    """Whatever draws an id takes it from the split's pool."""
    assert not set(POOLS["train"]) & set(POOLS["validation"])
    assert not set(POOLS["train"]) & set(POOLS["test"])
    assert not set(POOLS["validation"]) & set(POOLS["test"])
    for index in range(5):
        page = draw_page("validation", index, seed=5)
        assert {page.template, *page.writers, *page.stamps} <= set(POOLS["validation"])


def test_written_pages_read_back_with_their_boxes(tmp_path):
    command = "training.detector.pages --seed 6 --train 1 --validation 3 --out"
    subprocess.run([sys.executable, "-m", *command.split(), tmp_path], check=True)
    pages = read_pages(tmp_path, "validation")
    assert len(pages) == 3
    for index, page in enumerate(pages):
        drawn = draw_page("validation", index, seed=6)
        assert page.size == drawn.pixels.shape[1::-1]
        np.testing.assert_array_equal(page.class_ids, drawn.class_ids)
        np.testing.assert_allclose(page.xyxy, drawn.xyxy, atol=0.06)
        np.testing.assert_allclose(page.ignore, drawn.ignore, atol=0.06)


def test_every_kind_of_page_and_every_layout_draws():
    """One that no id reaches, or that fails, would be missed by chance draws."""
    assert set(houses.SHARES) == set(templates.TEMPLATES)
    seen = {}
    for template_id in range(600):
        kind = houses.kind(template_id)
        layout = Traits(template_id).one_of("layout", list(invoices.LAYOUTS))
        seen.setdefault((kind, layout if kind == "invoice" else ""), template_id)
    assert {kind for kind, _ in seen} == set(templates.TEMPLATES)
    assert {layout for _, layout in seen} == {"", *invoices.LAYOUTS}
    for (kind, layout), template_id in seen.items():
        house, rng = houses.look(template_id), np.random.default_rng(template_id)
        sheet = Sheet(700, 1000, house, rng)
        templates.TEMPLATES[kind](sheet, rng)
        ink = (np.asarray(sheet.image).astype(int) - house.paper).min()
        assert ink < -50, (kind, layout)


def test_tables_name_kinds_that_there_are():
    """A kind that is misspelt in one of them would be passed over."""
    pages = {*scan.SHARES, *compose.STAMPED, *compose.UNSIGNED, *compose.SPREAD}
    pages |= {*houses.COLOURFUL, *houses.PASTEL}
    assert pages - {""} <= set(houses.SHARES)
    stamped = {kind for _, kinds in compose.STAMPED.values() for kind in kinds}
    assert {*stamped, *compose.CROSSED, *compose.BOX_KINDS, *designs.SIZES} <= set(designs.KINDS)
    sources = {source for shares in scan.SHARES.values() for source in shares} | set(scan.SOLEMN)
    assert sources <= set(scan.SOURCES)
    pens = {*compose.PENS, *compose.INVOICE_PENS}
    assert pens <= set(handwriting.INKS)


def test_a_new_trait_leaves_the_others_as_they_were():
    first, second = Traits(1, 7), Traits(1, 7)
    second.uniform("another", 0, 1)
    assert first.uniform("size", 0, 1) == second.uniform("size", 0, 1)
    assert first.uniform("size", 0, 1) != first.uniform("width", 0, 1)
    assert first.uniform("size", 0, 1) != Traits(1, 8).uniform("size", 0, 1)


def test_a_weighted_choice_keeps_to_its_shares():
    rng = np.random.default_rng(0)
    picks = [weighted({"a": 3, "none": 0, "b": 1}, rng) for _ in range(2000)]
    assert picks.count("none") == 0
    assert 0.70 < picks.count("a") / 2000 < 0.80


def test_figures_are_written_stroke_by_stroke_from_left_to_right():
    """4 and 5 take two strokes, the slash one; a sign without strokes is left out."""
    plan = handwriting.line_plan(handwriting.writer(3), "4/5~", np.random.default_rng(0))
    assert len(plan) == 2 + 1 + 2
    four, slash, five = (np.concatenate(plan[i:j]) for i, j in ((0, 2), (2, 3), (3, 5)))
    middles = [run[:, 0].mean() for run in (four, slash, five)]
    assert middles == sorted(middles)


@pytest.mark.parametrize("line", ["Call!", "12 March 1990", "?", "J.S. 3/26/90"])
def test_what_is_jotted_in_words_is_legible(monkeypatch, line):
    """Strokes are letters by chance, which signatures are labelled for."""
    monkeypatch.setattr(handwriting, "draw", None)
    for seed in range(8):
        ink = lookalikes.jotted(line, 30, 1.0, handwriting.writer(3), np.random.default_rng(seed))
        assert ink.max() > 0.5


@pytest.mark.parametrize(("slant", "columns"), [(0.0, [20] * 4), (0.5, [22, 21, 21, 20])])
def test_leaning_ink_is_moved_to_the_right_at_its_head_and_widened(slant, columns):
    upright = np.zeros((4, 30), np.float32)
    upright[:, 10] = 1
    ink = lookalikes.leaning(upright, slant, 2.0)
    assert [int(row.argmax()) for row in ink] == columns


@pytest.mark.parametrize("unsigned", [0.0, 1.0])
def test_what_stands_where_a_signature_is_due_or_beside_one_is_no_mark(monkeypatch, unsigned):
    monkeypatch.setitem(compose.UNSIGNED, "form", unsigned)
    monkeypatch.setattr(compose, "FILLED", 1.0)
    monkeypatch.setattr(compose, "DATED", 1.0)
    signed = 0
    for seed in range(6):
        paper = compose.Paper(np.full((800, 800, 3), 255, np.uint8), 0.8, "form", POOLS["train"])
        compose._sign(paper, [houses.Place(500, 500, 150)], np.random.default_rng(seed))
        signed += len(paper.marks)
        assert (paper.bare != 255).any(axis=2).sum() > 20  # ink that no box is drawn about
        marked = np.zeros((800, 800), bool)
        for mark in paper.marks:
            columns, rows = mark.points.astype(int).T
            marked[rows, columns] = True
        changed = np.abs(paper.pixels.astype(int) - paper.bare).max(axis=2)
        assert changed[~marked].max() < 60  # beside the mark's pixels its soft edge alone
    assert (signed == 0) == (unsigned == 1.0)


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
    for design_id in range(400):
        kinds.setdefault(designs.kind_of(design_id), design_id)
    assert set(kinds) == set(designs.KINDS)
    for kind, design_id in kinds.items():
        design = designs.design(design_id)
        face = stamps.draw(design, 1.0, np.random.default_rng(0))
        assert design.kind == kind
        assert face.ink.dtype == np.float32
        assert face.ink.max() <= 1
        assert (face.ink > 0.3).mean() > 0.01, kind
        if face.entries is not None:
            assert face.entries.shape == face.ink.shape


@pytest.mark.parametrize(("middle", "upright"), [(0.75, True), (0.25, False)])
def test_letters_around_a_dial_stand_upright_above_and_below(middle, upright):
    """An L stands as in print at the head and at the foot: stem at its left, foot below."""
    dial = seals.Dial(400)
    dial.ring("L", text.FONTS["bold"][0], 198, 80, middle, 0.5, upright)
    inked = dial.bent() > 127
    rows, columns = np.nonzero(inked)
    assert abs(rows.mean() - (60 if upright else 340)) < 25
    letter = inked[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert min(letter[:, :8].mean(), letter[-8:].mean()) > 0.6
    assert max(letter[:, -8:].mean(), letter[:8].mean()) < 0.4


def test_an_emblem_is_the_same_for_the_same_seed():
    for kind in set(art.EMBLEMS):
        sign = art.emblem(kind, 60, 3)
        assert sign.shape == (60, 60)
        assert 0.03 < (sign > 100).mean() < 0.95, kind
    assert (art.emblem("figure", 60, 3) != art.emblem("figure", 60, 4)).any()


def test_a_square_code_is_found_by_its_finders():
    for seed in range(3):
        sheet = Sheet(300, 300, houses.look(0), np.random.default_rng(0))
        printed.square_code(sheet, 200, 200, 600, np.random.default_rng(seed))
        found, corners = cv2.QRCodeDetector().detect(np.asarray(sheet.image))
        assert found
        np.testing.assert_allclose(corners[0][0], [60, 60], atol=6)
        np.testing.assert_allclose(corners[0][2], [240, 240], atol=6)


@pytest.mark.parametrize("kind", printed.STRAYS)
def test_every_kind_of_stray_print_is_there(monkeypatch, kind):
    monkeypatch.setattr(printed, "STRAYS", {kind: 1.0})
    for seed in range(6):
        sheet = Sheet(800, 1000, houses.look(seed), np.random.default_rng(0))
        blank = np.array(sheet.image)
        printed.strays(sheet, np.random.default_rng(seed))
        assert (np.array(sheet.image) != blank).any(axis=2).sum() > 200


def test_a_quarter_turn_swaps_a_patch():
    ink = np.zeros((10, 30), np.float32)
    ink[:, :5] = 1
    turned = stamps.rotated(ink, 90)  # counter-clockwise: the left end comes to the foot
    assert abs(turned.shape[0] - 30) <= 1
    assert turned[-4].mean() > 0.8
    assert turned[3].mean() < 0.1


@pytest.mark.parametrize(("suffix", "mode"), [(".jpg", "RGB"), (".tiff", "1"), (".png", "P")])
def test_a_sample_is_encoded_as_its_suffix_says(suffix, mode):
    page = Image.new("RGB", (80, 100), (250, 250, 250))
    with Image.open(io.BytesIO(samples.encode(page, suffix, 150))) as saved:
        assert (saved.mode, saved.size) == (mode, (80, 100))
        assert round(saved.info["dpi"][0]) == 150


def test_a_sample_is_right_if_each_mark_is_found_once_in_its_class():
    marks = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    page = dataclasses.replace(draw_page("test", 0, 0), class_ids=np.array([0, 1]), xyxy=marks)
    near = [[0, 0, 10, 8], [20, 20, 40, 40]]  # IoU 0.8
    assert samples.right(page, {"boxes": near, "labels": ["signature", "stamp"]})
    assert samples.right(page, {"boxes": near[::-1], "labels": [b"stamp", b"signature"]})
    assert not samples.right(page, {"boxes": near, "labels": ["stamp", "signature"]})
    assert not samples.right(page, {"boxes": near[:1], "labels": ["signature"]})
    twice = {"boxes": [*near, near[0]], "labels": ["signature", "stamp", "signature"]}
    assert not samples.right(page, twice)
    far = [[0, 0, 10, 5], [20, 20, 40, 40]]  # IoU 0.5
    assert not samples.right(page, {"boxes": far, "labels": ["signature", "stamp"]})


def test_samples_are_written_of_pages_that_the_detector_gets_right(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SAMPLES", {"a.jpg": ("contract", 60), "b.png": ("invoice", 60)})
    monkeypatch.setattr(samples, "right", lambda page, found: found["right"])
    answers = iter((False, True, True))  # the first contract is passed over
    samples.write(tmp_path, 0, lambda content: {"right": next(answers)})
    boxes = json.loads((tmp_path / "pages.json").read_text())
    assert set(boxes) == {"a.jpg", "b.png"}
    for name, kind in (("a.jpg", "contract"), ("b.png", "invoice")):
        with Image.open(tmp_path / name) as page:
            assert page.size[1] == round(samples.A4_INCHES * 60)
        assert {box["class"] for box in boxes[name]["boxes"]} == set(CLASSES), kind
    monkeypatch.setattr(samples, "TRIES", 3)
    with pytest.raises(ValueError, match=r"a\.jpg: of 3 pages \(contract\)"):
        samples.write(tmp_path, 0, lambda content: {"right": False})


def test_a_plain_scan_of_a_page_is_the_page():
    page = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    page = cv2.GaussianBlur(page, (0, 0), 3)
    rng = np.random.default_rng(1)
    scanned, matrix = scan.digitise(page, PLAIN, rng)
    assert scanned.shape == (64, 48, 3)
    corners = cv2.perspectiveTransform(np.array([[[0, 0]], [[48, 64]]], np.float32), matrix)
    assert np.abs(corners[:, 0] - [[0, 0], [48, 64]]).max() < 4  # a shift and a zoom remain


def test_classes_are_in_the_contracts_order():
    assert CLASSES == ("signature", "stamp")
