import json

import cv2
import numpy as np
import pytest

from training.detector import real
from training.detector.labels import Labelled, read_pages, read_real, read_yolo, yolo_lines
from training.detector.pages.sheet import press


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


def blank(path, size=(100, 200)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0]), 255, np.uint8))


BOX = "1 0.2 0.2 0.2 0.2\n"  # of 100 x 200: 10, 20 to 30, 60


def test_a_roboflow_yolo_export_is_read(tmp_path):
    (tmp_path / "data.yaml").write_text("nc: 2\nnames: ['Stamps', 'signature']\n")
    for split, name in (
        ("train", "a_jpg.rf.0f"),
        ("train", "a_jpg.rf.1e"),
        ("valid", "b_jpg.rf.2"),
    ):
        blank(tmp_path / split / "images" / f"{name}.jpg")
        (tmp_path / split / "labels").mkdir(exist_ok=True)
        (tmp_path / split / "labels" / f"{name}.txt").write_text(BOX)
    first, second, third = read_pages(tmp_path)
    np.testing.assert_array_equal(first.class_ids, [0])  # their 1 is our 0
    np.testing.assert_allclose(first.xyxy, [[10, 20, 30, 60]], rtol=1e-5)
    assert (first.source, second.source, third.source) == ("a_jpg", "a_jpg", "b_jpg")
    assert [page.path.name for page in read_pages(tmp_path, "validation")] == ["b_jpg.rf.2.jpg"]


def test_a_cvat_yolo_export_is_read(tmp_path):
    (tmp_path / "obj.names").write_text("signature\nstamp\n")
    blank(tmp_path / "obj_train_data" / "a.png")
    blank(tmp_path / "obj_train_data" / "empty.png")
    (tmp_path / "obj_train_data" / "a.txt").write_text(BOX)
    a, empty = read_pages(tmp_path)
    np.testing.assert_array_equal(a.class_ids, [1])
    assert len(empty.xyxy) == 0


@pytest.mark.parametrize(
    ("table", "images"),
    [("annotations/instances_default.json", "images"), ("train/_annotations.coco.json", "train")],
    ids=["CVAT", "Roboflow"],
)
def test_a_coco_table_is_read(tmp_path, table, images):
    blank(tmp_path / images / "a.jpg")
    (tmp_path / table).parent.mkdir(exist_ok=True)
    boxes = [
        {"image_id": 5, "category_id": 2, "bbox": [10, 20, 20, 40]},
        {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 100, "height": 200}],
        "annotations": boxes,
        "categories": [
            {"id": 0, "name": "documents"},  # Roboflow's parent of all, on no box
            {"id": 1, "name": "Signature"},
            {"id": 2, "name": "stamp"},
        ],
    }
    (tmp_path / table).write_text(json.dumps(content))
    (page,) = read_pages(tmp_path)
    assert page.path == tmp_path / images / "a.jpg"
    np.testing.assert_array_equal(page.class_ids, [1])
    np.testing.assert_array_equal(page.xyxy, [[10, 20, 30, 60]])
    np.testing.assert_array_equal(page.ignore, [[1, 2, 4, 6]])


def test_classes_that_are_not_ours_are_refused_by_name(tmp_path):
    (tmp_path / "data.yaml").write_text("names: {0: signature, 1: logo}\n")
    blank(tmp_path / "images" / "a.jpg")
    (tmp_path / "images" / "a.txt").write_text(BOX)
    with pytest.raises(ValueError, match="class 'logo'"):
        read_pages(tmp_path)


def test_a_class_number_without_a_name_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("signature\n")
    blank(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text(BOX)
    with pytest.raises(ValueError, match=r"a\.txt: class 1, 1 are named"):
        read_pages(tmp_path)


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


def test_a_note_of_a_real_page_is_pressed_and_not_boxed(tmp_path, monkeypatch):
    write_real(tmp_path, labels_of())
    (page,) = read_real(tmp_path)
    pressed, boxed = [0, 0], [[], []]
    for noted, notes in enumerate(({}, {"a.jpg": [[10, 10, 60, 40]]})):
        monkeypatch.setattr(real, "NOTES", notes)

        def count(*args, noted=noted):
            pressed[noted] += 1
            return press(*args)

        monkeypatch.setattr(real, "press", count)
        for seed in range(30):
            class_ids = real.more_ink(page, [page], np.random.default_rng(seed))[1]
            boxed[noted].append(class_ids.tolist())
    assert pressed[1] > pressed[0]
    assert boxed[1] == boxed[0]


def test_written_copies_are_a_yolo_data_set(tmp_path):
    write_real(tmp_path / "in", labels_of())
    paths = real.write(read_real(tmp_path / "in"), tmp_path / "out", copies=2, seed=0)
    assert [path.name for path in paths] == ["0000_a_0.jpg", "0000_a_1.jpg", "0000_a_2.jpg"]
    lines = (tmp_path / "out" / "labels" / "0000_a_0.txt").read_text().splitlines()
    assert lines[1].split()[0] == "0"
    assert float(lines[1].split()[1]) == pytest.approx(140 / 320)
