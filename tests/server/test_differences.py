"""How two answers differ, and where a share and a mean may lie: by hand."""

import math

import pytest

from server.differences import BATCH, SURE, WARM_UP, Differences, Mean, share_interval

PAGE = {
    "boxes": [0, 0, 10, 10, 100, 100, 200, 200, 300, 0, 400, 100],
    "scores": [0.9, 0.8, 0.7],
    "labels": ["stamp", "signature", "signature"],
}
OTHER = {  # the stamp a little moved, the first signature as another class, one that is new
    "boxes": [1, 0, 11, 10, 100, 100, 200, 200, 500, 500, 600, 600, 302, 0, 400, 100],
    "scores": [0.95, 0.8, 0.6, 0.5],
    "labels": ["stamp", "stamp", "signature", "signature"],
}


def differences(*pages) -> Differences:
    found = Differences()
    for before, after in pages:
        found.add("detector", before, after)
    return found


def test_boxes_are_kept_gained_and_lost_by_class():
    found = differences((PAGE, OTHER))
    assert found.kept == {"stamp": 1, "signature": 1}
    assert found.gained == {"stamp": 1, "signature": 1}
    assert found.lost == {"signature": 1}
    assert found.shift.mean == pytest.approx((0.05 - 0.2) / 2)
    assert found.other_verdict == 0  # both classes are on both pages


def test_a_page_that_loses_its_last_box_of_a_class_has_another_verdict():
    empty = {"boxes": [], "scores": [], "labels": []}
    found = differences((PAGE, empty), (empty, empty), (PAGE, PAGE))
    assert (found.pages, found.other_verdict) == (3, 1)
    assert found.lost == {"stamp": 1, "signature": 2}


def test_two_boxes_cannot_both_be_found_in_one():
    twice = {"boxes": [0, 0, 10, 10] * 2, "scores": [0.9, 0.8], "labels": ["stamp"] * 2}
    once = {"boxes": [0, 0, 10, 10], "scores": [0.9], "labels": ["stamp"]}
    found = differences((twice, once))
    assert (found.kept["stamp"], found.lost["stamp"]) == (1, 1)


def reading(text: str, certain: bool, confidence: float) -> dict:
    return {"text": [text], "certain": [certain], "confidence": [confidence]}


def test_an_uncertain_reading_has_no_text():
    found = Differences()
    found.add("reader", reading("123456", True, 0.99), reading("123456", True, 0.97))
    found.add("reader", reading("123456", False, 0.5), reading("654321", False, 0.5))
    found.add("reader", reading("123456", True, 0.99), reading("123456", False, 0.5))
    assert (found.pages, found.other_verdict) == (3, 1)
    assert found.shift.mean == pytest.approx((-0.02 + 0 - 0.49) / 3)


def test_times_are_compared_as_ratios():
    """Of batches, after the first pages."""
    found = Differences()
    for _ in range(WARM_UP):
        found.took(0.1, 9.9)
    for _ in range(BATCH // 2):
        found.took(0.1, 0.4)
        assert found.slower.count == 0
        found.took(0.2, 0.2)
    assert math.exp(found.slower.mean) == pytest.approx(2)  # the geometric mean of 4 and 1


def test_the_interval_of_a_share_is_wilson_s():
    """Its ends are the shares from which what was found lies SURE standard deviations away."""
    for end in share_interval(81, 263):
        assert abs(81 / 263 - end) / math.sqrt(end * (1 - end) / 263) == pytest.approx(SURE)
    assert share_interval(0, 50)[0] == 0
    assert share_interval(50, 50)[1] == 1
    assert share_interval(0, 0) == (0, 1)


def test_the_interval_of_a_mean_needs_two_numbers():
    mean = Mean()
    assert mean.interval() == (-math.inf, math.inf)
    for number in (1, 2, 3):
        mean.add(number)
    half = SURE * 1 / math.sqrt(3)  # their standard deviation is 1
    assert mean.interval() == pytest.approx((2 - half, 2 + half))
