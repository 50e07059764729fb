import json

import cv2
import numpy as np
import pytest

from training.detector import real
from training.detector.labels import Labelled, read_real, read_yolo, yolo_lines


def write_real(folder, labels):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(labels))
    for name, page in labels.items():
        pixels = np.full((page["height"], page["width"], 3), 255, np.uint8)
        for box in page["boxes"]:
            x0, y0, x1, y1 = (int(edge) for edge in box["xyxy"])
            cv2.line(pixels, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), 2)
        cv2.imwrite(str(folder / "images" / name), pixels)


def labels_of(**extra):
    seal = {"class": "stamp", "xyxy": [10, 10, 40, 40], "kind": "printed_seal"}
    name = {"class": "signature", "xyxy": [100, 200, 180, 230]}
    return {"a.jpg": {"width": 320, "height": 320, "source": "s", "boxes": [seal, name], **extra}}


def test_real_labels_are_read(tmp_path):
    write_real(tmp_path, labels_of(ignore=[{"xyxy": [1, 2, 3, 4]}]))
    (page,) = read_real(tmp_path)
    np.testing.assert_array_equal(page.class_ids, [1, 0])
    np.testing.assert_array_equal(page.xyxy[1], [100, 200, 180, 230])
    np.testing.assert_array_equal(page.ignore, [[1, 2, 3, 4]])
    assert (page.source, page.size) == ("s", (320, 320))


def test_ink_only_ignores_what_is_printed(tmp_path):
    write_real(tmp_path, labels_of())
    (page,) = read_real(tmp_path, ink_only=True)
    np.testing.assert_array_equal(page.class_ids, [0])
    np.testing.assert_array_equal(page.ignore, [[10, 10, 40, 40]])


def test_an_unknown_class_is_refused_by_name(tmp_path):
    write_real(tmp_path, labels_of())
    text = (tmp_path / "labels.json").read_text().replace('"stamp"', '"logo"')
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.jpg has class 'logo'"):
        read_real(tmp_path)


def test_no_pages_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="images/train"):
        read_yolo(tmp_path, "train")


def test_yolo_lines_by_hand():
    xyxy = np.array([[10, 20, 30, 60]], np.float32)
    line = yolo_lines(np.array([1]), xyxy, (100, 200))
    assert line == "1 0.200000 0.200000 0.200000 0.200000\n"


def pages_of(sources) -> list[Labelled]:
    nothing = np.empty((0, 4), np.float32)
    ids = np.empty(0, np.int64)
    return [Labelled(None, source, (1, 1), ids, nothing, nothing) for source in sources]


def test_the_holdout_is_split_by_source():
    kept, held = real.split(pages_of("aabbbccd"), holdout=3)
    assert {page.source for page in kept}.isdisjoint(page.source for page in held)
    assert len(held) >= 3
    assert len(kept) + len(held) == 8


def test_no_holdout_keeps_every_page():
    kept, held = real.split(pages_of("aab"), holdout=0)
    assert (len(kept), len(held)) == (3, 0)


def test_a_copy_with_more_ink_keeps_the_real_boxes_over_ink(tmp_path):
    write_real(tmp_path, labels_of())
    (page,) = read_real(tmp_path)
    for seed in range(10):
        pixels, class_ids, xyxy = real.more_ink(page, [page], np.random.default_rng(seed))
        assert len(class_ids) == len(xyxy) >= 2
        np.testing.assert_array_equal(class_ids[:2], [1, 0])
        for x0, y0, x1, y1 in xyxy:
            assert pixels[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].min() < 150


def test_written_copies_are_a_yolo_data_set(tmp_path):
    write_real(tmp_path / "in", labels_of())
    paths = real.write(read_real(tmp_path / "in"), tmp_path / "out", copies=2, seed=0)
    assert [path.name for path in paths] == ["a_0.jpg", "a_1.jpg", "a_2.jpg"]
    lines = (tmp_path / "out" / "labels" / "a_0.txt").read_text().splitlines()
    assert lines[1].split()[0] == "0"
    assert float(lines[1].split()[1]) == pytest.approx(140 / 320)
