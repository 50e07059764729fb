import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.detector.labels import Labelled
from training.detector.score import (
    Found,
    average_precision,
    figures,
    read_kinds,
    score,
    table,
    views,
)


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
    one = score([truth], [found(boxes, [0.9, 0.8, 0.7], [0, 0, 0])])["signature"]
    assert one.ap50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    np.testing.assert_array_equal(one.hits, [True, False, True])


def test_a_loose_box_counts_at_one_half_alone():
    """A shift by a third: IoU exactly 1/2 -> of ten limits 0.50 to 0.95 only the first."""
    one = score([page([[0, 0, 30, 10]], [0])], [found([[10, 0, 40, 10]], [0.9], [0])])["signature"]
    assert one.ap50 == pytest.approx(1)
    assert one.ap50_95 == pytest.approx(0.1)


def test_an_ignored_area_is_neither_hit_nor_alarm():
    truth = page([[0, 0, 10, 10]], [0], ignore=[[50, 50, 90, 90]])
    seen = found([[55, 55, 65, 65], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])
    one = score([truth], [seen])["signature"]
    assert (one.boxes, one.at(0)["false_alarms"], one.at(0)["hits"]) == (1, 0, 1)


def test_the_wrong_class_is_a_miss_and_an_alarm():
    scores = score([page([[0, 0, 10, 10]], [0])], [found([[0, 0, 10, 10]], [0.9], [1])])
    assert scores["signature"].at(0.5)["recall"] == 0
    assert scores["stamp"].at(0.5)["false_alarms"] == 1


def test_a_page_with_nothing_found_and_nothing_there():
    scores = score([page([], [])], [found([], [], [])])
    assert scores["stamp"].boxes == 0
    assert np.isnan(scores["stamp"].ap50)


def test_a_page_whose_labels_lack_a_class_counts_for_the_others_alone():
    box = [[0, 0, 10, 10]]
    without = replace(page([*box, *box], [0, 1]), labelled=frozenset({"stamp"}))
    seen = found([*box, [50, 50, 60, 60], *box], [0.9, 0.8, 0.7], [0, 0, 1])
    scores = score([without], [seen])
    assert (scores["signature"].boxes, len(scores["signature"].scores)) == (0, 0)
    assert (scores["stamp"].boxes, scores["stamp"].at(0.5)["hits"]) == (1, 1)


def test_average_precision_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    pages, seen = [], []
    for _ in range(20):
        corners = rng.uniform(0, 60, (6, 2))
        boxes = np.hstack([corners, corners + rng.uniform(20, 40, (6, 2))])
        pages.append(page(boxes[:4], [0, 0, 0, 1]))
        moved = boxes + rng.normal(0, 3, boxes.shape)
        seen.append(found(moved, rng.random(6), [0, 0, 0, 1, 1, 0]))
    for one in score(pages, seen).values():
        alike = average_precision(one.hits, np.ones(len(one.hits)), one.boxes)
        assert 0.1 < one.ap50 < 0.9
        assert alike == pytest.approx(one.ap50)


def test_a_detection_that_is_drawn_twice_counts_twice():
    """Hit twice, alarm: three quarters of four boxes at precision 1, as if it stood there twice."""
    twice = average_precision(np.array([True, False, True]), np.array([2, 1, 1]), 4)
    listed = average_precision(np.array([True, True, False, True]), np.ones(4), 4)
    assert twice == pytest.approx(listed)


def test_intervals_are_over_documents_and_not_over_pages():
    """Two documents, one found whole and one not at all: each is drawn not at all in a quarter of
    the rounds. Ten pages of one document are no ten draws.
    """
    box = [[0, 0, 10, 10]]
    pages = [replace(page(box, [0]), source="a")] * 5 + [replace(page(box, [0]), source="b")] * 5
    seen = [found(box, [0.9], [0])] * 5 + [found([], [], [])] * 5
    one = score(pages, seen)["signature"]
    assert one.at(0.5)["recall"] == 0.5
    assert one.intervals(0.5)["recall"] == (0, 1)
    assert one.intervals(0.5)["precision"] == (1, 1)
    drawn = np.array([[1, 1], [2, 0], [0, 2]])
    assert one.resampled(0.5, drawn)["recall"].tolist() == [0.5, 1, 0]
    assert one.resampled(0.5, drawn)["ap50"] == pytest.approx([51 / 101, 1, 0])


def test_what_cannot_be_measured_is_none():
    one = score([page([], [])], [found([[0, 0, 9, 9]], [0.9], [0])])["signature"]
    row = figures(one, 0.5)
    assert (row["false_alarms"], row["precision"]) == (1, 0)
    assert row["recall"] is row["ap50"] is row["ap50_95"] is None
    assert set(row["intervals"]) == {"precision", "false_alarms"}
    assert figures(one, 0.95)["precision"] is None


def test_a_kind_is_scored_without_closeups_and_seals_that_are_not_ink_and_then_with_them():
    box = [[0, 0, 10, 10]]
    plain = replace(page(box, [1]), kinds=("round_seal",), group="a")
    printed = replace(page(box, [1]), kinds=("printed_seal",), group="b")
    closeup = replace(page(box, [1]), kinds=("",), group="a", closeup=True)
    nothing = [found([], [], [])] * 3
    rows = {name: p for name, p, _ in views("stamps", [plain, printed, closeup], nothing)}
    boxes = {name: [len(page.xyxy) for page in those] for name, those in rows.items()}
    assert boxes == {
        "stamps": [1, 0],
        "stamps, a": [1],
        "stamps, b": [0],
        "stamps, seals that are not ink too": [1, 1],
        "stamps, close-ups too": [1, 0, 1],
    }
    assert rows["stamps"][1].ignore.tolist() == box


def test_the_table_has_each_kind_and_all_together():
    there, nothing = [[0, 0, 10, 10]], found([], [], [])
    alarm = found(there, [0.9], [0])
    kinds = {"letters": [page(there, [0])], "no_marks": [page([], []), page([], [])]}
    seen = {"letters": [alarm], "no_marks": [alarm, nothing]}
    rows = table(kinds, seen, {"signature": 0.5})
    assert {name: row["pages"] for name, row in rows.items()} == {
        "letters": 1, "no_marks": 2, "all": 3,
    }  # fmt: skip
    assert rows["letters"]["signature"]["precision"] == 1
    assert rows["no_marks"]["signature"]["false_alarms"] == 1
    assert rows["all"]["signature"]["precision"] == 0.5
    assert "stamp" not in rows["all"]


def test_figures_at_a_quarter_count_marks_whose_extent_is_another():
    """A shift by a half of the width: IoU 1/3. A second mark is missed, a third box is none."""
    there = page([[0, 0, 30, 10], [50, 50, 60, 60]], [0, 0])
    seen = found([[15, 0, 45, 10], [80, 80, 90, 90]], [0.9, 0.8], [0, 0])
    row = table({"letters": [there]}, {"letters": [seen]}, {"signature": 0.5})["letters"][
        "signature"
    ]
    assert (row["ap50"], row["precision"], row["recall"]) == (0, 0, 0)
    assert row["ap25"] == pytest.approx(51 / 101, abs=1e-4)
    assert (row["precision25"], row["recall25"]) == (0.5, 0.5)
    nothing = table({"a": [page([], [])]}, {"a": [found([], [], [])]}, {"signature": 0.5})["a"]
    assert {nothing["signature"][name] for name in ("ap25", "precision25", "recall25")} == {None}


def test_pages_of_a_split_are_read_by_folder_and_all_where_none_is_said(tmp_path):
    for name, splits in {"split": ["train", "dev"], "plain": [None, None]}.items():
        (tmp_path / name / "images").mkdir(parents=True)
        labels = {}
        for i, split in enumerate(splits):
            Image.new("RGB", (8, 8)).save(tmp_path / name / "images" / f"{i}.png")
            labels[f"{i}.png"] = {"width": 8, "height": 8, "boxes": []}
            labels[f"{i}.png"] |= {"split": split} if split else {}
        (tmp_path / name / "labels.json").write_text(json.dumps(labels))
    kinds = read_kinds([tmp_path / "split", tmp_path / "plain"], "validation")
    names = {kind: [page.path.name for page in pages] for kind, pages in kinds.items()}
    assert names == {"split": ["1.png"], "plain": ["0.png", "1.png"]}
    with pytest.raises(ValueError, match="a second folder of the name 'split'"):
        read_kinds([tmp_path / "split", tmp_path / "plain" / ".." / "split"], "validation")
