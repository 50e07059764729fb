"""Defects one at a time: boxes by hand after each move, and a report from the running server."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy import robustness
from benchmarks.accuracy.robustness import DEFECTS, MOVES, damaged, moved, moved_box, table
from training.detector import scan
from training.detector.labels import Labelled

ROOT = Path(__file__).resolve().parents[3]
RNG = np.random.default_rng(0)


def labelled(path: Path, size: tuple[int, int], *boxes: list[float]) -> Labelled:
    return Labelled(
        path=path,
        source="a",
        size=size,
        class_ids=np.zeros(len(boxes), np.int64),
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.array([[0, 0, 10, 10]], np.float32),
    )


@pytest.fixture
def page(tmp_path) -> Labelled:
    """1280 x 640 px, white, with a black bar from 200, 300 to 400, 340."""
    pixels = np.full((640, 1280), 255, np.uint8)
    pixels[300:340, 200:400] = 0
    cv2.imwrite(str(tmp_path / "page.png"), pixels)
    return labelled(tmp_path / "page.png", (1280, 640), [200, 300, 400, 340])


def test_a_clean_page_comes_down_to_the_size_of_training_scans(page):
    assert scan.FRAME == 640
    pixels, labels = damaged(page, "clean", 0.0, seed=0)
    assert pixels.shape == (320, 640, 3)
    np.testing.assert_array_equal(labels.xyxy, [[100, 150, 200, 170]])
    np.testing.assert_array_equal(labels.ignore, [[0, 0, 5, 5]])
    assert labels.size == (640, 320)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_box_is_where_the_ink_went(page, name, strength):
    pixels, labels = damaged(page, name, strength, seed=1)
    rows, columns = np.nonzero(pixels[..., 0] < 128)
    ink = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(labels.xyxy, [ink], atol=1.5)
    assert labels.size == pixels.shape[1::-1]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_that_moves_nothing_keeps_the_boxes_and_shows(page, name):
    pixels, labels = damaged(page, name, 1.0, seed=0)
    unharmed, _ = damaged(page, "clean", 0.0, seed=0)
    np.testing.assert_array_equal(labels.xyxy, [[100, 150, 200, 170]])
    if name != "grey":  # which this page is
        assert (pixels != unharmed).any()


def test_every_defect_of_the_scan_model_is_measured():
    defects = {
        name
        for name, function in vars(scan).items()
        if callable(function)
        and getattr(function, "__annotations__", {}).keys() >= {"pixels", "strength"}
    }
    assert DEFECTS.keys() == defects


def test_moves_at_full_strength_by_hand():
    size = (400, 600)
    np.testing.assert_allclose(MOVES["squash"](size, 1.0, RNG)[0], np.diag([1.5, 1, 1]))
    assert MOVES["squash"](size, 1.0, RNG)[1] == (600, 600)
    assert MOVES["squash"](size, 0.5, RNG)[1] == (500, 600)
    matrix, _ = MOVES["shrink"](size, 1.0, RNG)
    np.testing.assert_allclose(matrix @ [0, 0, 1], [100, 150, 1])  # the middle half
    matrix, _ = MOVES["skew"](size, 1.0, RNG)
    assert abs(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))) == pytest.approx(5)
    np.testing.assert_allclose(matrix @ [200, 300, 1], [200, 300, 1])  # about the middle
    matrix, _ = MOVES["perspective"](size, 1.0, np.random.default_rng(0))
    x, y, w = matrix @ [400, 600, 1]
    assert abs(x / w - 400) <= 32
    assert abs(y / w - 600) <= 48


def test_a_box_wider_than_its_ink_keeps_its_margin():
    grey = np.full((100, 100), 255, np.uint8)
    grey[40:50, 40:60] = 0
    box = np.array([30, 30, 70, 60], np.float32)
    half = np.diag([0.5, 0.5, 1])
    np.testing.assert_allclose(moved_box(grey, box, half), [15, 15, 35, 30])
    np.testing.assert_allclose(moved_box(grey[:, :0], box, half), [15, 15, 35, 30])


def test_what_is_mostly_cut_off_is_ignored(tmp_path):
    page = labelled(tmp_path, (100, 100), [0, 0, 40, 10], [10, 50, 50, 60])
    left = np.array([[1, 0, -30], [0, 1, 0], [0, 0, 1]], np.float64)
    _, labels = moved(np.full((100, 100, 3), 255, np.uint8), page, left, (100, 100))
    np.testing.assert_array_equal(labels.xyxy, [[0, 50, 20, 60]])
    np.testing.assert_array_equal(labels.ignore, [[-30, 0, -20, 10], [0, 0, 10, 10]])


def test_the_same_page_is_damaged_the_same_and_another_page_otherwise(page, tmp_path):
    Image.open(page.path).save(tmp_path / "other.png")
    other = labelled(tmp_path / "other.png", page.size, *page.xyxy)
    first, second, otherwise = (damaged(one, "specks", 1.0, 0)[0] for one in (page, page, other))
    np.testing.assert_array_equal(first, second)
    assert (first != otherwise).any()


def test_the_table_gives_the_share_of_the_clean_pages():
    def row(defect, strength, ap50):
        figures = {"ap50": ap50, "precision": 1.0, "recall": 0.5}
        return {
            "defect": defect,
            "strength": strength,
            "classes": dict.fromkeys(["signature", "stamp"], figures),
        }

    lines = table([row("clean", 0.0, 0.8), row("specks", 0.5, 0.6)]).splitlines()
    assert lines[1].split() == ["clean", "0.0", *["0.800", "1.00", "1.000", "0.500"] * 2]
    assert lines[2].split() == ["specks", "0.5", *["0.600", "0.75", "1.000", "0.500"] * 2]


def test_generated_pages_are_of_a_clean_scanner(tmp_path):
    """As bright as white paper between the print, in colour, and nowhere noisy."""
    (page,) = robustness.drawn(1, 0, tmp_path)
    pixels = np.array(Image.open(page.path))
    assert pixels.shape[:2] == (robustness.HEIGHT, page.size[0])
    assert np.percentile(pixels, 60) >= 250
    boxes = page.xyxy
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= page.size).all()


def test_the_running_server_is_scored_under_each_defect(server, tmp_path, samples, sample_pages):
    images = tmp_path / "pages" / "images"
    images.mkdir(parents=True)
    labels = {}
    for name, page in sample_pages.items():
        image = Image.open(samples / name).convert("RGB")
        image.save(images / f"{Path(name).stem}.png")
        size = {"width": image.width, "height": image.height}
        labels[f"{Path(name).stem}.png"] = size | {"boxes": page["boxes"]}
    (tmp_path / "pages" / "labels.json").write_text(json.dumps(labels))

    command = [
        "-m",
        "benchmarks.accuracy.robustness",
        "--pages",
        str(tmp_path / "pages"),
        "--count",
        "1",
    ]
    command += ["--out", str(tmp_path / "report"), "--url", server.grpc_url]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )

    report = json.loads((tmp_path / "report" / "robustness.json").read_text())
    clean, *others = report["rows"]
    first = [box["class"] for box in sample_pages[min(sample_pages)]["boxes"]]
    assert (report["pages"], clean["defect"]) == (1, "clean")
    for name in ("signature", "stamp"):
        assert clean["classes"][name]["boxes"] == first.count(name)
    assert {(row["defect"], row["strength"]) for row in others} == {
        (name, strength) for name in [*DEFECTS, *MOVES] for strength in robustness.STRENGTHS
    }
    assert len(done.stdout.splitlines()) == 2 + len(others)
    Image.open(tmp_path / "report" / "robustness.png").verify()
