"""Marks in zones: what fills a zone, what does not, and what a person has to look at."""

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.paperwork import Blank, Filling, draw_blank, write_form
from gateway.forms import Form, FormPage, Mark, PageMarks, Zone, check, open_page, read

ACCEPT = {"signature": 0.76, "stamp": 0.73}
SIZE = (1000, 1400)  # px of a page
APPLICANT = Zone("applicant", "signature", (0.1, 0.8, 0.4, 0.9))  # 100 1120 400 1260 px
GUARANTOR = Zone("guarantor", "signature", (0.5, 0.8, 0.8, 0.9))  # 500 1120 800 1260 px
BANK = Zone("bank", "stamp", (0.1, 0.5, 0.4, 0.7))  # 100 700 400 980 px
SIGNED = Mark("signature", 0.9, (120, 1140, 380, 1240))
SECOND = Mark("signature", 0.9, (520, 1140, 780, 1240))
STAMPED = Mark("stamp", 0.9, (120, 720, 380, 960))


def form(*zones: Zone, **more) -> Form:
    return Form("loan", (FormPage(1, zones),), **more)


def page(*marks: Mark, number: int = 1, **more) -> PageMarks:
    return PageMarks(number, *SIZE, marks, **more)


def moved(mark: Mark, x: float, y: float = 0.0, **more) -> Mark:
    x0, y0, x1, y1 = mark.box
    return replace(mark, box=(x0 + x, y0 + y, x1 + x, y1 + y), **more)


def verdicts(asked: Form, *pages: PageMarks) -> list[str]:
    """Of the document, then of each zone."""
    answer = check(asked, pages, ACCEPT)
    return [answer.verdict, *(zone.verdict for zone in answer.zones)]


def test_marks_in_their_zones_make_a_document_complete():
    answer = check(form(APPLICANT, GUARANTOR, BANK), [page(SECOND, STAMPED, SIGNED)], ACCEPT)
    assert answer.verdict == "complete"
    assert answer.why == "3 of 3 zones filled"
    assert [zone.marks[0].mark for zone in answer.zones] == [SIGNED, SECOND, STAMPED]
    assert answer.zones[0].why == "signature 0.90, 100% inside"
    np.testing.assert_allclose(
        answer.zones[0].corners, [[100, 1120], [400, 1120], [400, 1260], [100, 1260]], atol=0.01
    )


@pytest.mark.parametrize(
    ("marks", "expected", "why"),
    [
        ([], "missing", "no signature"),
        ([STAMPED], "missing", "no signature"),
        ([replace(SIGNED, label="stamp")], "missing", r"no signature; a stamp \(0.90\) is there"),
        ([replace(SIGNED, score=0.7)], "review", "signature 0.70, 100% inside: score below 0.76"),
        ([moved(SIGNED, 0, -70)], "review", "50% of it in the zone, limit 60%"),
        ([moved(SIGNED, 0, -130)], "review", "0% of it in the zone"),
        ([moved(SIGNED, 0, -250)], "missing", r"the nearest \(0.90\) is 9% of the page's length"),
        ([replace(SIGNED, box=(0, 900, 900, 1400))], "review", "9% of it in the zone"),
        ([replace(SIGNED, score=0.95), moved(SIGNED, 10)], "complete", "signature 0.95"),
        (
            [SIGNED, replace(moved(SIGNED, 8, 5), label="stamp", score=0.95)],
            "review",
            r"taken for a stamp as well \(0.95\)",
        ),
    ],
)
def test_a_zone_is_filled_or_the_reason_is_told(marks, expected, why):
    answer = check(form(APPLICANT), [page(*marks)], ACCEPT)
    assert (answer.verdict, answer.zones[0].verdict) == (expected, expected)
    assert re.search(why, answer.zones[0].why), answer.zones[0].why


def test_one_mark_fills_one_zone():
    """Two zones side by side, one signature across both: one of them has none."""
    left = replace(APPLICANT, box=(0.1, 0.8, 0.4, 0.9))
    right = replace(GUARANTOR, box=(0.4, 0.8, 0.7, 0.9))
    expected = {  # by how far it is shifted: with 77, 46 and 15 % of it in the left one
        60: ["missing", "complete", "missing"],
        140: ["missing", "review", "missing"],
        220: ["missing", "missing", "complete"],
    }
    for shift, said in expected.items():
        assert verdicts(form(left, right), page(moved(SIGNED, shift))) == said


def test_two_marks_in_one_zone_do_not_fill_its_neighbour():
    marks = [moved(SIGNED, 0), replace(SIGNED, box=(150, 1130, 350, 1200), score=0.8)]
    assert verdicts(form(APPLICANT, GUARANTOR), page(*marks)) == ["missing", "complete", "missing"]


def test_a_part_of_a_mark_is_no_second_mark():
    two = replace(APPLICANT, count=2)
    part = replace(SIGNED, box=(130, 1150, 250, 1230), score=0.8)
    apart = [
        replace(SIGNED, box=(110, 1140, 240, 1240)),
        replace(SIGNED, box=(250, 1140, 390, 1240)),
    ]
    assert verdicts(form(two), page(*apart)) == ["complete", "complete"]
    assert verdicts(form(two), page(SIGNED, part)) == ["review", "review"]
    assert verdicts(form(two), page(SIGNED)) == ["missing", "missing"]


def test_a_mark_on_another_page_counts_for_nothing():
    asked = Form("loan", (FormPage(1, (BANK,)), FormPage(2, (APPLICANT,))))
    right = [page(STAMPED), page(SIGNED, number=2)]
    wrong = [page(STAMPED, SIGNED), page(number=2)]
    assert verdicts(asked, *right)[0] == "complete"
    assert verdicts(asked, *wrong) == ["missing", "complete", "missing"]
    assert verdicts(asked, right[0]) == ["missing", "complete", "missing"]


def test_doubtful_marks_go_where_they_complete_most():
    """A mark between two zones, another between the second and a third: two of three get one."""
    zones = [
        Zone(name, "signature", (x, 0.8, x + 0.2, 0.9))
        for name, x in (("a", 0.1), ("b", 0.3), ("c", 0.5))
    ]
    marks = [
        Mark("signature", 0.5, (200, 1140, 400, 1240)),
        Mark("signature", 0.5, (410, 1140, 590, 1240)),
    ]
    assert sorted(verdicts(form(*zones), page(*marks))[1:]) == ["missing", "review", "review"]


def test_what_is_not_required_does_not_count():
    asked = form(APPLICANT, replace(BANK, required=False))
    assert verdicts(asked, page(SIGNED)) == ["complete", "complete", "empty"]
    assert verdicts(asked, page(SIGNED, STAMPED)) == ["complete", "complete", "complete"]
    assert verdicts(asked, page(STAMPED)) == ["missing", "missing", "complete"]


def test_a_document_of_another_length_or_shape_and_a_page_not_read_are_for_review():
    assert verdicts(form(APPLICANT, page_count=2), page(SIGNED)) == ["review", "complete"]
    failed = PageMarks(1, 0, 0, (), error="not read: image: 3 bytes")
    assert verdicts(form(APPLICANT), failed) == ["review", "review"]
    upright = Form("loan", (FormPage(1, (APPLICANT,), aspect=0.7071),))
    assert verdicts(upright, page(SIGNED)) == ["complete", "complete"]
    sideways = PageMarks(1, 1400, 1000, (replace(SIGNED, box=(200, 820, 500, 880)),))
    assert verdicts(upright, sideways) == ["review", "review"]


def test_complete_has_a_mark_for_every_zone():
    """Whatever the marks: each zone has one of its own, by trying all ways to share them out."""
    rng = np.random.default_rng(0)
    zones = [APPLICANT, GUARANTOR, replace(BANK, label="signature")]
    complete = 0
    for _ in range(400):
        marks = []
        for _ in range(rng.integers(1, 6)):
            x0, y0, x1, y1 = np.array(zones[rng.integers(3)].box) * (*SIZE, *SIZE)
            shift = rng.normal(0, 40, 2)
            box = (x0 + 15 + shift[0], y0 + 15 + shift[1], x1 - 15 + shift[0], y1 - 15 + shift[1])
            label = "signature" if rng.random() < 0.9 else "stamp"
            marks.append(Mark(label, float(rng.uniform(0.6, 1)), box))
        if verdicts(form(*zones), page(*marks))[0] == "complete":
            complete += 1
            assert any(
                all(fills(mark, zone) for mark, zone in zip(some, zones, strict=True))
                for some in permutations(marks, len(zones))
            )
    assert complete > 10


def fills(mark: Mark, zone: Zone) -> bool:
    x0, y0, x1, y1 = np.array(zone.box) * (*SIZE, *SIZE)
    width = min(x1, mark.box[2]) - max(x0, mark.box[0])
    height = min(y1, mark.box[3]) - max(y0, mark.box[1])
    area = (mark.box[2] - mark.box[0]) * (mark.box[3] - mark.box[1])
    inside = max(0, width) * max(0, height) / area
    return mark.label == zone.label and mark.score >= ACCEPT[mark.label] and inside >= 0.59


class Paper:
    """A filled page of a form with a reference, and its marks as a perfect detector finds them."""

    def __init__(self, blank: Blank, seed: int = 0, left_out: str = ""):
        self.filling = Filling(blank, np.random.default_rng(seed))
        self.filling.entries()
        for field in blank.fields:
            if field.name != left_out:
                self.filling.mark(field)
        self.pixels = self.filling.pixels

    def page(self, number: int = 1, pixels: np.ndarray | None = None, matrix=None) -> PageMarks:
        """The page after a homography that gave `pixels`."""
        pixels = self.pixels if pixels is None else pixels
        marks = []
        for mark in self.filling.marks:
            points = cv2.perspectiveTransform(
                mark.points[None] + 0.5, np.eye(3) if matrix is None else matrix
            )[0]
            box = (*points.min(axis=0), *points.max(axis=0))
            marks.append(Mark(mark.label, 0.9, tuple(map(float, box))))  # type: ignore[arg-type]
        height, width = pixels.shape[:2]
        return PageMarks(number, width, height, tuple(marks), open_page(pixels))


@pytest.fixture(scope="module")
def blank() -> Blank:
    return draw_blank(3, height=1170)


@pytest.fixture(scope="module")
def referenced(blank, tmp_path_factory) -> Form:
    return read(write_form(tmp_path_factory.mktemp("forms"), "loan", [blank]))


@pytest.fixture(scope="module")
def paper(blank) -> Paper:
    return Paper(blank)


def test_a_filled_form_is_complete_and_one_without_a_mark_is_not(blank, referenced, paper):
    answer = check(referenced, [paper.page()], ACCEPT)
    assert (answer.verdict, answer.extra) == ("complete", ())
    for field in blank.fields:
        lacking = check(referenced, [Paper(blank, 1, field.name).page()], ACCEPT)
        verdict_of = {zone.zone.name: zone.verdict for zone in lacking.zones}
        assert verdict_of.pop(f"{field.name} 1") == "missing"
        assert set(verdict_of.values()) == {"complete"}


def test_a_page_upside_down_is_checked_as_it_lies(referenced, paper):
    height, width = paper.pixels.shape[:2]
    matrix = np.array([[-1, 0, width], [0, -1, height], [0, 0, 1]], np.float64)
    pixels = np.ascontiguousarray(paper.pixels[::-1, ::-1])
    answer = check(referenced, [paper.page(1, pixels, matrix)], ACCEPT)
    assert answer.pages[0].registration.turned == 180
    assert answer.verdict == "complete"


def test_a_zone_that_is_cut_off_is_for_review(blank, referenced, paper):
    foot = int(min(field.y1 for field in blank.fields) * 1.17) - 20
    answer = check(referenced, [paper.page(1, paper.pixels[:foot])], ACCEPT)
    assert answer.verdict == "review"
    assert any("of the zone is on the page" in zone.why for zone in answer.zones)


def test_ink_that_the_detector_does_not_know_is_for_review(blank, referenced, paper):
    page = paper.page()
    unseen = replace(page, marks=page.marks[1:])
    answer = check(referenced, [unseen], ACCEPT)
    (zone,) = [zone for zone in answer.zones if zone.verdict != "complete"]
    assert zone.verdict == "review"
    assert "ink that the blank form does not have" in zone.why


def test_what_is_printed_on_the_blank_form_is_no_mark(blank, referenced):
    """The detector may take print for a mark, and be sure of it."""
    empty = Filling(blank, np.random.default_rng(0))
    field = blank.fields[0]
    unit = 1.17
    caption = (field.x0 * unit, (field.y1 - 12) * unit, (field.x0 + 60) * unit, field.y1 * unit)
    page = PageMarks(
        1, *empty.pixels.shape[1::-1], (Mark(field.label, 0.99, caption),), open_page(empty.pixels)
    )
    answer = check(referenced, [page], ACCEPT)
    zone = answer.zones[0]
    assert zone.verdict == "review"
    assert "what is there is on the blank form too" in zone.why


@pytest.mark.parametrize("revised", [False, True], ids=["another form", "another edition"])
def test_a_complete_paper_of_another_form_is_not_complete(referenced, revised):
    other = draw_blank(3, revised=True, height=1170) if revised else draw_blank(4, height=1170)
    answer = check(referenced, [Paper(other).page()], ACCEPT)
    assert answer.verdict != "complete"
    if not revised:
        assert "no page matches page 1 of the form" in answer.why
        assert answer.extra == (1,)


def test_a_form_s_head_on_another_paper_is_not_the_form(blank, referenced):
    """A third of a page is enough for a homography, and says nothing of the zones."""
    other = Paper(draw_blank(4, height=1170))
    other.pixels[:390] = blank.pixels[:390, : other.pixels.shape[1]]
    assert check(referenced, [other.page()], ACCEPT).verdict != "complete"


def test_two_copies_of_a_page_are_for_review(blank, referenced, paper):
    copy = Paper(blank, 1, blank.fields[0].name)
    answer = check(referenced, [paper.page(1), copy.page(2)], ACCEPT)
    assert answer.verdict in ("review", "missing")
    assert "matches as well" in answer.pages[0].doubts[0]


def test_pages_are_found_in_any_order_and_one_that_is_not_there_is_missing(tmp_path, blank, paper):
    second = draw_blank(5, height=1170)
    asked = read(write_form(tmp_path, "two", [blank, second]))
    other = Paper(second)
    cover = PageMarks(1, 827, 1170, (), open_page(np.full((1170, 827), 255, np.uint8)))
    answer = check(asked, [cover, other.page(2), paper.page(3)], ACCEPT)
    assert (answer.verdict, answer.extra) == ("complete", (1,))
    assert [placed.page.page for placed in answer.pages] == [3, 2]
    alone = check(asked, [paper.page(1)], ACCEPT)
    assert alone.verdict == "missing"
    assert {zone.verdict for zone in alone.zones if zone.form_page == 2} == {"missing"}


def test_a_sheet_of_another_size_than_its_marks_is_not_believed(referenced, paper):
    page = paper.page()
    answer = check(referenced, [replace(page, width=page.height, height=page.width)], ACCEPT)
    assert answer.verdict == "review"
    assert "its marks are of 1170 x 827 px" in answer.why


def test_too_many_pages_are_refused(referenced, paper):
    with pytest.raises(ValueError, match="201 pages, limit 200 for a form with 1 reference page"):
        check(referenced, [paper.page()] * 201, ACCEPT)


def test_a_drawn_form_is_read_as_drawn(referenced, blank):
    assert [zone.name for zone in referenced.pages[0].zones] == [
        f"{f.name} 1" for f in blank.fields
    ]
    assert Path(referenced.pages[0].reference.file).suffix == ".png"
