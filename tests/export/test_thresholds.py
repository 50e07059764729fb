"""Operating points, against tables and counts by hand."""

import numpy as np
import pytest

from export import thresholds
from export.targets import verdicts
from export.thresholds import Accepted, accept, pools_of, precision_interval, review
from training.detector.score import ClassScore


def listed(hits: str, boxes: int, top: float = 0.99) -> ClassScore:
    """Detections from `top` down in steps of 0.001: + is a hit, - a false alarm."""
    return ClassScore(
        ap50=0.5,
        ap50_95=0.5,
        scores=top - 0.001 * np.arange(len(hits)),
        hits=np.array([one == "+" for one in hits], bool),
        documents=np.zeros(len(hits), np.int64),
        boxes_of=np.array([boxes]),
    )


def test_the_interval_is_that_of_the_tables():
    """Clopper and Pearson (1934); 0 and n of n have the closed form 0.025 ** (1 / n)."""
    lower, upper = precision_interval([0, 5, 10, 72, 71], [10, 10, 10, 72, 72])
    np.testing.assert_allclose(lower, [0, 0.1871, 0.6915, 0.9501, 0.9250], atol=1e-4)
    np.testing.assert_allclose(upper, [0.3085, 0.8129, 1, 1, 0.9996], atol=1e-4)


def test_small_kinds_are_pooled_the_smallest_first():
    kinds = {"a": listed("+", 131), "b": listed("+-", 69), "c": listed("-", 45), "d": listed("", 0)}
    pools = pools_of(kinds)
    assert {name: kind.boxes for name, kind in pools.items()} == {"a": 131, "b + c + d": 114}
    assert pools["b + c + d"].hits.tolist() == [True, False, False]
    assert list(pools_of({"a": listed("+", 3), "b": listed("", 2)})) == ["a + b"]
    assert list(pools_of({"few": listed("+", 1)})) == ["few"]


def test_accept_is_the_lowest_score_whose_interval_holds():
    """72 hits are enough; an alarm after 80 is too much, unless 116 hits make up for it."""
    point = accept({"a": listed("+" * 80 + "-" + "+" * 20, 120)}, 0.95)
    assert point.rule == "bound"
    assert point.threshold == pytest.approx(0.99 - 0.079, abs=1e-4)
    assert point.pools["a"]["hits"] == 80
    back = accept({"a": listed("+" * 80 + "-" + "+" * 36, 120)}, 0.95)
    assert back.pools["a"] | {"interval": None} == {
        "boxes": 120, "hits": 116, "false_alarms": 1, "precision": 116 / 117,
        "recall": 116 / 120, "interval": None,
    }  # fmt: skip
    assert back.pools["a"]["interval"][0] >= 0.95


def test_accept_is_chosen_in_the_worst_pool():
    good, bad = listed("+" * 100, 100), listed("+" * 90 + "-" * 10, 100)
    assert accept({"good": good, "bad": bad}, 0.95).threshold == pytest.approx(0.901, abs=1e-4)


def test_no_higher_score_may_be_surely_worse():
    """Nine alarms at the top are made up for by 400 hits below, but not above them."""
    with pytest.raises(
        ValueError, match=r"no score gives a precision of 0\.95: the best is 0\.978"
    ):
        accept({"a": listed("-" * 9 + "+" * 400, 400)}, 0.95)
    one = accept({"a": listed("-" + "+" * 150, 150)}, 0.95)
    assert (one.rule, one.pools["a"]["hits"]) == ("bound", 150)


def test_with_few_boxes_accept_falls_back_to_the_precision_as_measured_and_says_so():
    point = accept({"a": listed("+" * 20 + "-" + "+" * 5, 30)}, 0.95)
    assert (point.rule, point.pools["a"]["hits"]) == ("measured", 25)
    assert point.pools["a"]["interval"][0] == pytest.approx(0.8036, abs=1e-3)


def test_a_precision_that_is_never_reached_is_refused_with_the_best():
    with pytest.raises(ValueError, match=r"precision of 0\.95: the best is 0\.500"):
        accept({"a": listed("-+", 2)}, 0.95)


def test_pages_without_marks_raise_the_score_of_the_class_that_loses_least():
    """Three alarms on 100 pages, two may be: the stamp's costs 1 of 10, the signatures' 3 and 6."""
    signature = {"a": listed("+" * 10, 10), "blank": listed("--", 0, top=0.9875)}
    stamp = {"a": listed("+" * 10, 10), "blank": listed("-", 0, top=0.9815)}
    points = {name: Accepted(0.98, "bound", {}) for name in ("signature", "stamp")}
    scores = {"signature": signature, "stamp": stamp}
    raised = thresholds.with_few_alarms(points, scores, ["blank"], 100)
    assert raised["signature"] == points["signature"]
    assert (raised["stamp"].rule, raised["stamp"].threshold) == ("alarms", 0.9816)
    assert raised["stamp"].pools["a + blank"]["recall"] == 0.9
    assert thresholds.with_few_alarms(points, scores, ["blank"], 150) == points


def test_review_goes_down_while_a_mark_costs_at_most_ten_alarms():
    """Two hits, ten alarms for the third and eleven for the fourth."""
    kind = listed("++" + "-" * 10 + "+" + "-" * 11 + "+", 4)
    assert review({"a": kind}, 0.99) == pytest.approx(0.978, abs=1e-4)
    assert review({"a": kind}, 0.5) == 0.5
    assert review({"a": listed("", 3)}, 0.7) == 0.7


def test_a_threshold_is_never_rounded_down():
    assert thresholds.rounded_up(0.12341) == 0.1235
    assert thresholds.rounded_up(0.25) == 0.25


def test_targets_are_met_or_not_as_the_figures_say():
    kind = {"false_alarms": 1, "ap50": 0.93, "precision": None, "recall": 0.9}
    row = {"pages": 60, "documents": 60, "signature": kind, "stamp": kind | {"false_alarms": 0}}
    rows = {
        (row["kind"], row["class"], row["figure"]): (row["reached"], row["met"])
        for row in verdicts({"letters": row, "no_marks": row, "all": row})
    }
    assert rows["letters", "signature", "ap50"] == (0.93, True)
    assert rows["all", "stamp", "precision"] == (None, False)
    assert rows["no_marks", "both", "false_alarms a page"] == (0.0167, True)
    assert ("stamps", "stamp", "ap50") not in rows
