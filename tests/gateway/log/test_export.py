"""Corrected pages as data that a training takes."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.log.export import Picture, archive, members
from training.detector.labels import read_pages
from training.detector.train import Recipe, train

A, B = "a" * 64, "b" * 64
CLASSES = ["signature", "stamp"]


def draw(page):
    """300 x 400 px with a zigzag and a ring; of file b there is no page 2."""
    if (page["sha256"], page["page"]) == (B, 2):
        return None
    pixels = np.full((400, 300, 3), 255, np.uint8)
    steps = np.array([[40 + 10 * i, 60 + (30 if i % 2 else 0)] for i in range(9)])
    cv2.polylines(pixels, [steps], False, (160, 60, 20), 2)
    cv2.circle(pixels, (180, 300), 30, (50, 40, 200), 3)
    return Picture(cv2.imencode(".png", pixels)[1].tobytes(), ".png", 300, 400)


def correction(digest, page, *marks, classes=CLASSES):
    """In pixels of a page twice as large as its picture."""
    detections = [{"class": name, "bbox": list(box)} for name, box in marks]
    return {
        "sha256": digest, "page": page, "width": 600, "height": 800, "classes": classes,
        "detections": detections,
    }  # fmt: skip


MARKS = (("stamp", (300, 540, 420, 660)), ("signature", (78, 118, 244, 184)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of an export."""
    folder = tmp_path_factory.mktemp("export")
    corrected = [
        correction(A, 1, *MARKS),
        correction(A, 2, *MARKS),
        correction(A, 3),
        correction(B, 1, *MARKS),
        correction(B, 2, *MARKS),
        correction(B, 3, classes=["signature"]),
    ]
    whole = io.BytesIO(b"".join(archive(members(iter(corrected), draw))))
    with tarfile.open(fileobj=whole) as tar:
        tar.extractall(folder)
    return folder


def test_it_says_what_is_in_it_and_what_could_not_be(exported):
    counts = json.loads((exported / "export.json").read_text())
    assert counts == {"pages": 4, "without_picture": 1, "of_other_classes": 1}


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_each_folder_has_the_boxes_in_pixels_of_the_pictures(exported, form):
    pages = read_pages(exported / form)
    assert [page.path.name for page in pages] == [
        f"{A}.rf.1.png", f"{A}.rf.2.png", f"{A}.rf.3.png", f"{B}.rf.1.png",
    ]  # fmt: skip
    assert [page.source for page in pages] == [A, A, A, B]  # kept together
    first, empty = pages[0], pages[2]
    np.testing.assert_array_equal(first.class_ids, [1, 0])
    boxes = [[150, 270, 210, 330], [39, 59, 122, 92]]
    np.testing.assert_allclose(first.xyxy, boxes, atol=0.01)
    assert len(empty.xyxy) == 0
    assert all(page.labelled == {"signature", "stamp"} for page in pages)


def test_pictures_are_on_the_disk_once(exported):
    for name in (f"{A}.rf.1.png", f"{B}.rf.1.png"):
        assert (exported / "coco/images" / name).samefile(exported / "yolo/images" / name)


def test_a_detector_trains_on_it_as_it_is(exported, tmp_path):
    recipe = Recipe(
        height=64, width=64, views=4, batch=2, warmup=2, generated=0, zoom=0, minutes=60, loaders=0
    )
    real = [exported / "yolo", exported / "coco"]
    train(recipe, real, [], tmp_path / "run", Path("training/detector/shipped.pt"))
    assert (tmp_path / "run" / "last.pt").exists()


def test_nothing_corrected_is_an_empty_export():
    (*_, (name, content)) = members(iter([]), draw)
    assert (name, json.loads(content)["pages"]) == ("export.json", 0)
