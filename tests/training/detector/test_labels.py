import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from training.detector.labels import (
    Labelled,
    complete,
    digest,
    hold_out,
    read_json,
    read_pages,
    training_pages,
    upright_size,
)


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
    (page,) = read_json(tmp_path)
    np.testing.assert_array_equal(page.class_ids, [1, 0])
    np.testing.assert_array_equal(page.xyxy[1], [100, 200, 180, 230])
    np.testing.assert_array_equal(page.ignore, [[1, 2, 3, 4]])
    assert (page.source, page.size) == ("s", (320, 320))


def test_ink_only_ignores_what_is_printed(tmp_path):
    write_real(tmp_path, labels_of())
    (page,) = read_json(tmp_path, ink_only=True)
    np.testing.assert_array_equal(page.class_ids, [0])
    np.testing.assert_array_equal(page.ignore, [[10, 10, 40, 40]])


def test_an_unknown_class_is_refused_by_name(tmp_path):
    write_real(tmp_path, labels_of())
    text = (tmp_path / "labels.json").read_text().replace('"stamp"', '"logo"')
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.jpg has class 'logo'"):
        read_json(tmp_path)


def test_no_pages_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no labels\.json, no COCO table"):
        read_pages(tmp_path, "train")


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


def test_a_polygon_stands_for_its_box(tmp_path):
    blank(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.1 0.3 0.2 0.2 0.5 0.25 0.4 0.4\n")
    (page,) = read_pages(tmp_path)
    np.testing.assert_allclose(page.xyxy, [[10, 40, 50, 80]], rtol=1e-5)


@pytest.mark.parametrize(
    ("line", "reason"),
    [("0 0.1 0.2 0.3 0.4 0.9", "5 numbers after the class"), ("0 0.1 x 0.3 0.4", "is no class")],
)
def test_a_line_that_is_neither_box_nor_polygon_is_refused(tmp_path, line, reason):
    blank(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=rf"a\.txt: .*{reason}"):
        read_pages(tmp_path)


def test_labels_are_read_by_split(tmp_path):
    labels = labels_of()
    write_real(
        tmp_path,
        {
            f"{split or 'none'}.jpg": labels["a.jpg"] | ({"split": split} if split else {})
            for split in ("train", "dev", "test", "")
        },
    )
    for asked, file in (("train", "train.jpg"), ("validation", "dev.jpg"), ("dev", "dev.jpg")):
        assert [page.path.name for page in read_pages(tmp_path, asked)] == [file]
    assert len(read_pages(tmp_path)) == 4
    training, held = training_pages(tmp_path)
    assert [page.path.name for page in (*training, *held)] == ["train.jpg", "dev.jpg"]


def test_pages_without_a_split_are_in_none(tmp_path):
    write_real(tmp_path, labels_of())
    for split in ("validation", "test"):
        with pytest.raises(FileNotFoundError, match=f"no pages of split '{split}'; it has none"):
            read_pages(tmp_path, split)
    assert [len(pages) for pages in training_pages(tmp_path)] == [1, 0]


def test_a_folder_of_validation_pages_alone_is_nothing_to_train_on(tmp_path):
    write_real(tmp_path, {"a.jpg": labels_of()["a.jpg"] | {"split": "dev"}})
    with pytest.raises(FileNotFoundError, match="1 pages, none of them to train on"):
        training_pages(tmp_path)


def test_a_split_that_is_not_known_is_refused(tmp_path):
    write_real(tmp_path, {"a.jpg": labels_of()["a.jpg"] | {"split": "mine"}})
    with pytest.raises(ValueError, match=r"a\.jpg has split 'mine'"):
        read_pages(tmp_path)


@pytest.mark.parametrize(
    ("table", "images"),
    [
        ("annotations/instances_val.json", "images"),
        ("valid/_annotations.coco.json", "valid"),
        ("annotations/instances_default.json", "images/val"),
    ],
)
def test_a_coco_page_is_of_the_split_of_its_folder_or_table(tmp_path, table, images):
    for number, (of_table, of_images) in enumerate(
        ((table, images), (table.replace("val", "train").replace("trainid", "train"),
         images.replace("valid", "train").replace("val", "train")))
    ):  # fmt: skip
        blank(tmp_path / of_images / f"{number}.jpg")
        (tmp_path / of_table).parent.mkdir(exist_ok=True)
        path = tmp_path / of_table
        before = json.loads(path.read_text())["images"] if path.exists() else []
        image = {"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 200}
        kinds = [{"id": 0, "name": "signature"}]
        path.write_text(
            json.dumps({"images": [*before, image], "annotations": [], "categories": kinds})
        )
    training, held = training_pages(tmp_path)
    assert [page.path.name for page in training] == ["1.jpg"]
    assert [page.path.name for page in held] == ["0.jpg"]
    assert training[0].labelled == {"signature"}  # nothing is known of its stamps


def test_the_test_pages_of_a_roboflow_export_are_never_trained_on(tmp_path):
    for split in ("train", "valid", "test"):
        blank(tmp_path / split / "images" / f"{split}.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text(BOX)
    training, held = training_pages(tmp_path)
    assert [page.path.name for page in (*training, *held)] == ["train.jpg", "valid.jpg"]


def turned(path, orientation=6):
    """A file of 200 x 100 px that EXIF turns upright, to 100 x 200."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (200, 100), "white")
    exif = image.getexif()
    exif[274] = orientation
    image.save(path, exif=exif)


def test_sizes_are_those_that_a_person_sees(tmp_path):
    turned(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text(BOX)
    (page,) = read_pages(tmp_path)
    assert page.size == upright_size(tmp_path / "a.jpg") == (100, 200)
    np.testing.assert_allclose(page.xyxy, [[10, 20, 30, 60]], rtol=1e-5)
    assert cv2.imread(str(tmp_path / "a.jpg")).shape[:2] == (200, 100)  # as training reads it


def test_a_table_of_another_size_is_refused(tmp_path):
    write_real(tmp_path, labels_of())
    turned(tmp_path / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg is 320 x 320, its file 100 x 200"):
        read_pages(tmp_path)


def test_what_labels_say_of_a_page_is_read(tmp_path):
    extra = {"document": "d7", "labelled": ["stamp"], "group": "ru", "view": "closeup"}
    write_real(tmp_path, {"a.jpg": labels_of()["a.jpg"] | extra})
    (page,) = read_pages(tmp_path)
    assert (page.source, page.labelled, page.group, page.closeup) == ("d7", {"stamp"}, "ru", True)
    assert page.kinds == ("printed_seal", "")


def test_added_boxes_are_found_by_the_digest_of_the_file(tmp_path):
    write_real(tmp_path, {"a.jpg": labels_of()["a.jpg"] | {"labelled": ["signature"]}})
    (page,) = read_pages(tmp_path)
    box = {"class": "stamp", "xyxy": [5, 6, 70, 80], "by": "hand"}
    table = tmp_path / "completed.json"
    table.write_text(json.dumps({digest(page.path): {"boxes": [box], "labelled": ["stamp"]}}))
    renamed = page.path.rename(tmp_path / "images" / "b.jpg")
    (completed,) = complete([replace(page, path=renamed)], table)
    np.testing.assert_array_equal(completed.class_ids, [1, 0, 1])
    np.testing.assert_array_equal(completed.xyxy[2], [5, 6, 70, 80])
    assert completed.labelled == {"signature", "stamp"}
    blank(renamed)  # another file of the same name
    assert complete([replace(page, path=renamed)], table)[0].labelled == {"signature"}


def pages_of(sources) -> list[Labelled]:
    nothing = np.empty((0, 4), np.float32)
    ids = np.empty(0, np.int64)
    return [Labelled(None, source, (1, 1), ids, nothing, nothing) for source in sources]


def test_a_share_of_the_sources_is_held_out_by_seed():
    pages = pages_of(f"{number // 2:02d}" for number in range(40))  # two pages a source
    kept, held = hold_out(pages, 0.25, seed=1)
    assert (len(kept), len(held)) == (30, 10)
    assert {page.source for page in kept}.isdisjoint(page.source for page in held)
    assert {page.source for page in held} != {f"{number:02d}" for number in range(5)}
    assert [p.source for p in hold_out(pages, 0.25, seed=1)[1]] == [p.source for p in held]
    assert [p.source for p in hold_out(pages, 0.25, seed=2)[1]] != [p.source for p in held]
