"""A form from a few good examples."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks.accuracy.paperwork import ASPECT, Blank, draw_blank
from gateway.forms import FormError, Mark, PageMarks, check, learn, open_page, read
from tests.gateway.forms.test_checking import ACCEPT, Paper

SIZE = (1000, 1400)


def example(*marks: Mark) -> list[PageMarks]:
    return [PageMarks(1, *SIZE, marks)]


def signature(x: float, y: float, score: float = 0.9) -> Mark:
    return Mark("signature", score, (x, y, x + 200, y + 70))


def test_zones_are_where_marks_recur():
    examples = [
        example(signature(100, 1000), Mark("stamp", 0.9, (600, 1000, 800, 1140))),
        example(signature(120, 1014), Mark("stamp", 0.9, (610, 1000, 810, 1140))),
        example(signature(110, 1007, 0.3), signature(700, 100)),
        example(signature(100, 1000)),
        example(signature(100, 1000), signature(10, 500, 0.1)),
    ]
    form = learn("loan", examples, ACCEPT).form
    assert form.page_count == 1
    (page,) = form.pages
    assert page.aspect == pytest.approx(5 / 7)
    signed, stamped = page.zones
    # seen from 100 to 320 and from 1000 to 1084 px; 15 % and at least 1.2 % of the page around
    assert signed.box == pytest.approx((0.067, 0.7023, 0.353, 0.7863), abs=2e-3)
    assert (signed.name, signed.label, signed.required) == ("signature 1", "signature", True)
    assert signed.note == "on 5 of 5 examples, scores 0.30 to 0.90"
    assert (stamped.name, stamped.required) == ("stamp 1", False)
    assert stamped.note == "on 2 of 5 examples, scores 0.90 to 0.90"


def test_zones_side_by_side_are_parted_in_the_middle():
    examples = [example(signature(100, 1000), signature(310, 1000))] * 3
    first, second = learn("loan", examples, ACCEPT).form.pages[0].zones
    assert first.box[2] == second.box[0] == pytest.approx(0.305)


@pytest.mark.parametrize(
    ("examples", "reason"),
    [
        ([example(signature(1, 1))] * 2, "examples: 2, limit at least 3"),
        ([example()] * 3, "no mark is in one place on 80% of the 3"),
        ([example(signature(300 * i, 1)) for i in range(3)], "no mark is in one place"),
        ([example(signature(1, 1, 0.2))] * 3, "no mark is in one place"),  # never beyond doubt
        (
            [[PageMarks(1, 0, 0, (), error="not read: image: 3 bytes")]] * 3,
            "example 1, page 1: not read: image: 3 bytes",
        ),
    ],
)
def test_what_cannot_be_learned_is_said(examples, reason):
    with pytest.raises(FormError, match=reason):
        learn("loan", examples, ACCEPT)


@pytest.fixture(scope="module")
def blank() -> Blank:
    return draw_blank(6, height=1170)


def test_a_form_and_its_blank_page_are_made_of_filled_ones(tmp_path, blank):
    examples = [[Paper(blank, seed).page()] for seed in range(5)]
    learned = learn("loan", examples, ACCEPT)
    for name, image in learned.files.items():
        (tmp_path / name).write_bytes(image)
    (tmp_path / "loan.yaml").write_text(learned.form.to_yaml())
    form = read(tmp_path / "loan.yaml")

    zones = form.pages[0].zones
    assert sorted(zone.label for zone in zones) == sorted(field.label for field in blank.fields)
    for zone in zones:  # about where the forms has them
        middle = np.array([zone.box[0] + zone.box[2], zone.box[1] + zone.box[3]]) / 2
        apart = [np.abs(middle - np.array(field.middle) / (ASPECT * 1000, 1000)).max()
                 for field in blank.fields if field.label == zone.label]  # fmt: skip
        assert min(apart) < 0.05

    grey = cv2.imdecode(np.frombuffer(learned.files["loan-1.png"], np.uint8), cv2.IMREAD_GRAYSCALE)
    true = cv2.resize(cv2.cvtColor(blank.pixels, cv2.COLOR_RGB2GRAY), grey.shape[::-1])
    for field in blank.fields:  # nobody's mark is left
        x0, y0, x1 = int(field.x0), int(field.y0), int(field.x1)  # px of a page 1000 px high
        inside = np.s_[y0 + 5 : y0 + 75, x0 + 5 : x1 - 5]
        assert (grey[inside] < 128).mean() <= (true[inside] < 128).mean() + 0.005

    assert check(form, [Paper(blank, 9).page()], ACCEPT).verdict == "complete"
    assert check(form, [Paper(blank, 9, blank.fields[0].name).page()], ACCEPT).verdict == "missing"


def test_an_example_of_another_form_is_named(blank):
    examples = [[Paper(blank, seed).page()] for seed in range(3)]
    other = [Paper(draw_blank(4, height=1170)).page()]
    with pytest.raises(FormError, match="example 2, page 1: "):
        learn("loan", [examples[0], other, *examples[1:]], ACCEPT, {1: open_page(blank.pixels)})
    with pytest.raises(
        FormError, match="page 1: the examples do not lie on each other: on example"
    ):
        learn("loan", [*examples[:2], other], ACCEPT)


def test_print_that_the_detector_takes_for_a_mark_is_no_zone(blank):
    """It is on the blank form too."""
    examples = []
    for seed in range(3):
        page = Paper(blank, seed).page()
        logo = Mark(
            "stamp",
            0.99,
            (0.06 * page.width, 0.02 * page.height, 0.12 * page.width, 0.08 * page.height),
        )
        examples.append([replace(page, marks=(*page.marks, logo))])
    zones = learn("loan", examples, ACCEPT, {1: open_page(blank.pixels)}).form.pages[0].zones
    assert all(zone.box[1] > 0.3 for zone in zones)
