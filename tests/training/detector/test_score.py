from pathlib import Path

import numpy as np
import pytest

from training.detector.labels import Labelled
from training.detector.score import ClassScore, Found, score


def page(boxes, class_ids, ignore=()):
    return Labelled(
        path=Path("page.jpg"),
        source="page",
        size=(100, 100),
        class_ids=np.array(class_ids, np.int64),
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.array(ignore, np.float32).reshape(-1, 4),
    )


def found(boxes, scores, class_ids):
    return Found(np.array(boxes, float).reshape(-1, 4), np.array(scores), np.array(class_ids, int))


def test_perfect_boxes_score_one():
    truth = page([[10, 10, 30, 30], [50, 50, 90, 70]], [0, 1])
    scores = score([truth], [found(truth.xyxy, [0.9, 0.8], [0, 1])])
    for name in ("signature", "stamp"):
        assert scores[name].ap50 == pytest.approx(1)
        assert scores[name].ap50_95 == pytest.approx(1)
        assert scores[name].at(0.5) == {
            "boxes": 1, "hits": 1, "false_alarms": 0, "precision": 1, "recall": 1,
        }  # fmt: skip


def test_average_precision_by_hand():
    """Hit, false alarm, hit: precision 1 up to recall 1/2, then 2/3: 51 of COCO's 101 points."""
    truth = page([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])
    boxes = [[0, 0, 10, 10], [60, 60, 70, 70], [20, 20, 30, 30]]
    own = score([truth], [found(boxes, [0.9, 0.8, 0.7], [0, 0, 0])])["signature"]
    assert own.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    np.testing.assert_array_equal(own.hits, [True, False, True])


def test_a_loose_box_counts_at_one_half_alone():
    """A shift by a third: IoU exactly 1/2 -> of ten limits 0.50 to 0.95 only the first."""
    own = score([page([[0, 0, 30, 10]], [0])], [found([[10, 0, 40, 10]], [0.9], [0])])["signature"]
    assert own.ap50 == pytest.approx(1)
    assert own.ap50_95 == pytest.approx(0.1)


def test_an_ignored_area_is_neither_hit_nor_alarm():
    truth = page([[0, 0, 10, 10]], [0], ignore=[[50, 50, 90, 90]])
    seen = found([[55, 55, 65, 65], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])
    own = score([truth], [seen])["signature"]
    assert (own.boxes, own.at(0)["false_alarms"], own.at(0)["hits"]) == (1, 0, 1)


def test_the_wrong_class_is_a_miss_and_an_alarm():
    scores = score([page([[0, 0, 10, 10]], [0])], [found([[0, 0, 10, 10]], [0.9], [1])])
    assert scores["signature"].at(0.5)["recall"] == 0
    assert scores["stamp"].at(0.5)["false_alarms"] == 1


def test_a_page_with_nothing_found_and_nothing_there():
    scores = score([page([], [])], [found([], [], [])])
    assert scores["stamp"].boxes == 0
    assert np.isnan(scores["stamp"].ap50)


def test_the_operating_point_is_the_lowest_score_that_keeps_the_precision():
    """Shares of hits down the list: 1, 1, 2/3, 3/4, 3/5."""
    own = ClassScore(
        4, 0.0, 0.0, np.array([0.9, 0.8, 0.6, 0.5, 0.1]), np.array([1, 1, 0, 1, 0], bool)
    )
    assert own.operating_point(0.75) == 0.5
    assert own.operating_point(0.9) == 0.8


def test_a_precision_out_of_reach_is_refused_with_the_best():
    own = ClassScore(2, 0.0, 0.0, np.array([0.9, 0.8]), np.array([False, True]))
    with pytest.raises(ValueError, match=r"0\.95.*0\.500"):
        own.operating_point(0.95)
