import pytest

from gateway.log import review

ACCEPT = {"signature": 0.76, "stamp": 0.73}
WHERE = [40.0, 60.0, 140.0, 120.0]


def page(*marks, **others):
    """A page of 400 x 600 px with marks of class, score and box."""
    detections = [{"class": c, "confidence": s, "bbox": list(b)} for c, s, b in marks]
    return {"page": 1, "width": 400, "height": 600, "detections": detections} | others


@pytest.mark.parametrize(
    ("score", "near"), [(0.655, False), (0.67, True), (0.76, True), (0.85, True), (0.87, False)]
)
def test_near_is_less_than_a_tenth_from_the_threshold_of_its_class(score, near):
    assert review.near(page(("signature", score, WHERE)), ACCEPT, None) is near


def test_each_class_is_near_its_own_threshold():
    assert review.near(page(("stamp", 0.64, WHERE)), ACCEPT, None)
    assert not review.near(page(("signature", 0.64, WHERE)), ACCEPT, None)
    assert not review.near(page(), ACCEPT, None)


def test_a_zone_that_a_check_sends_to_review_makes_its_own_page_near():
    zones = [{"name": "borrower", "page": 3, "document_page": 1, "verdict": "review"}]
    check = {"form": "loan", "verdict": "review", "zones": zones}
    assert review.near(page(), ACCEPT, check)
    assert not review.near(page() | {"page": 2}, ACCEPT, check)
    zones[0]["verdict"] = "missing"
    assert not review.near(page(), ACCEPT, check)


def answers_disagree(before, now):
    marks = review.marks_of(before, ACCEPT)
    return review.disagrees(now, ACCEPT, marks)


def test_the_same_marks_a_little_elsewhere_agree():
    """100 x 60 moved by 20 to the right: 80 * 60 of 120 * 60, so an overlap of 2/3."""
    moved = [60.0, 60.0, 160.0, 120.0]
    assert not answers_disagree(page(("signature", 0.9, WHERE)), page(("signature", 0.8, moved)))


@pytest.mark.parametrize(
    "now",
    [
        page(),
        page(("stamp", 0.9, WHERE)),
        page(("signature", 0.9, WHERE), ("signature", 0.9, [200, 300, 250, 350])),
        page(("signature", 0.9, [80.0, 60.0, 180.0, 120.0])),  # 60 of 140: 0.43
    ],
    ids=["gone", "another class", "one more", "elsewhere"],
)
def test_other_marks_disagree(now):
    assert answers_disagree(page(("signature", 0.9, WHERE)), now)


def test_marks_below_accept_do_not_count():
    assert not answers_disagree(page(("signature", 0.75, WHERE)), page())


def test_two_boxes_need_two_partners():
    twice = page(("signature", 0.9, WHERE), ("signature", 0.8, WHERE))
    apart = page(("signature", 0.9, WHERE), ("signature", 0.8, [200, 300, 250, 350]))
    assert answers_disagree(twice, apart)
    assert not answers_disagree(twice, twice)


def test_a_page_at_another_resolution_is_the_same_page():
    half = [edge / 2 for edge in WHERE]
    small = page(("signature", 0.9, half)) | {"width": 200, "height": 300}
    assert not answers_disagree(page(("signature", 0.9, WHERE)), small)


def test_no_answer_before_is_no_disagreement():
    assert not review.disagrees(page(("signature", 0.9, WHERE)), ACCEPT, None)


def pdf(*marks, fields=(), stamps=()):
    """A page of 200 x 300 points: half as many as pixels."""
    size = {"width_points": 200.0, "height_points": 300.0}
    return page(*marks, signature_fields=list(fields), stamp_annotations=list(stamps), **size)


FIELD = {"name": "Sig1", "signed": True, "bbox_points": [20.0, 30.0, 70.0, 60.0]}
STAMP = {"name": "Approved", "bbox_points": [100.0, 200.0, 150.0, 250.0]}


def test_a_signed_field_without_a_signature_disagrees():
    assert review.disagrees(pdf(fields=[FIELD]), ACCEPT, None)
    assert review.disagrees(pdf(("stamp", 0.9, WHERE), fields=[FIELD]), ACCEPT, None)
    assert not review.disagrees(pdf(("signature", 0.9, WHERE), fields=[FIELD]), ACCEPT, None)


def test_a_stamp_annotation_without_a_stamp_disagrees():
    assert review.disagrees(pdf(stamps=[STAMP]), ACCEPT, None)
    seen = pdf(("stamp", 0.9, [210.0, 410.0, 290.0, 490.0]), stamps=[STAMP])
    assert not review.disagrees(seen, ACCEPT, None)


@pytest.mark.parametrize(
    "field",
    [
        FIELD | {"signed": False},
        FIELD | {"bbox_points": [0, 0, 0, 0]},
        FIELD | {"bbox_points": None},
    ],
    ids=["unsigned", "of no size", "invisible"],
)
def test_a_field_that_shows_nothing_says_nothing(field):
    assert not review.disagrees(pdf(fields=[field]), ACCEPT, None)


def test_an_answer_asked_above_accept_cannot_be_compared():
    assert review.comparable({"signature": 0.07, "stamp": 0.1}, ACCEPT)
    assert review.comparable(ACCEPT, ACCEPT)
    assert not review.comparable({"signature": 0.9, "stamp": 0.1}, ACCEPT)
    assert not review.comparable({}, {})


def test_a_share_of_the_pages_is_drawn_always_the_same():
    drawn = [n for n in range(20_000) if review.drawn("ab" * 32, n, 0.05)]
    assert len(drawn) == pytest.approx(1000, abs=4 * 31)  # four deviations of a binomial
    assert drawn == [n for n in range(20_000) if review.drawn("ab" * 32, n, 0.05)]
    assert all(review.drawn("ab" * 32, n, 1.0) for n in range(100))
    assert not any(review.drawn("ab" * 32, n, 0.0) for n in range(100))
