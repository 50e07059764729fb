"""Accuracy as served: counted by hand on a page of which the answer is known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.detector import covered, mistakes, summary
from training.detector.labels import Labelled
from training.detector.score import Found, score

ROOT = Path(__file__).resolve().parents[3]
THRESHOLDS = {"signature": 0.5, "stamp": 0.6}


def boxes(*rows) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.fixture
def page() -> Labelled:
    """Two signatures, a stamp, and an area to ignore."""
    return Labelled(
        path=Path("page.jpg"),
        source="a",
        size=(100, 100),
        class_ids=np.array([0, 0, 1]),
        xyxy=boxes([0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 90, 90]),
        ignore=boxes([0, 50, 20, 70]),
    )


@pytest.fixture
def found() -> Found:
    """A hit, a signature on the ignored area, one on blank paper, a stamp below its threshold."""
    return Found(
        xyxy=boxes([0, 0, 10, 9], [1, 51, 19, 69], [60, 0, 70, 10], [50, 50, 90, 90]),
        scores=np.array([0.9, 0.8, 0.7, 0.55], np.float32),
        class_ids=np.array([0, 0, 0, 1]),
    )


def test_coverage_is_that_of_squares():
    a, b = boxes([0, 0, 10, 10], [5, 0, 15, 10])
    assert covered(a, b) == pytest.approx(1 / 2)


def test_hits_false_alarms_and_misses_are_told_apart(page, found):
    right, false, missed = mistakes(page, found, THRESHOLDS)
    assert [box.tolist() for box, _ in right] == [[0, 0, 10, 9]]
    assert [box.tolist() for box, _ in false] == [[60, 0, 70, 10]]
    assert [(box.tolist(), class_id) for box, class_id in missed] == [
        ([20, 0, 30, 10], 0),
        ([50, 50, 90, 90], 1),
    ]


def test_the_summary_counts_what_the_sheet_shows(page, found):
    rows = summary(score([page], [found]), THRESHOLDS)
    signature, stamp = rows["signature"], rows["stamp"]
    assert (signature["hits"], signature["false_alarms"], signature["boxes"]) == (1, 1, 2)
    assert (signature["precision"], signature["recall"], signature["f1"]) == (0.5, 0.5, 0.5)
    assert (stamp["hits"], stamp["recall"], stamp["f1"]) == (0, 0, 0)
    assert stamp["ap50"] == pytest.approx(1)  # whatever the threshold


@pytest.mark.parametrize("form", ["labels.json", "yolo"])
def test_the_running_server_is_scored_on_a_labelled_folder(
    server, tmp_path, samples, sample_pages, form
):
    """On the samples themselves, which the server is known to find."""
    pages = tmp_path / "pages"
    labels = {}
    for name, page in sample_pages.items():
        image = Image.open(samples / name).convert("RGB")
        labels[f"{Path(name).stem}.jpg"] = {
            "width": image.width,
            "height": image.height,
            "boxes": page["boxes"],
        }
        folder = pages / "images" if form == "labels.json" else pages / "images" / "test"
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{Path(name).stem}.jpg", quality=95)
    if form == "labels.json":
        (pages / "labels.json").write_text(json.dumps(labels))
    else:
        (pages / "labels" / "test").mkdir(parents=True)
        for name, page in labels.items():
            lines = [yolo_line(box, page["width"], page["height"]) for box in page["boxes"]]
            (pages / "labels" / "test" / f"{Path(name).stem}.txt").write_text("\n".join(lines))

    report = tmp_path / "report"
    command = ["-m", "benchmarks.accuracy.detector", "--pages", str(pages), "--out", str(report)]
    subprocess.run([sys.executable, *command, "--url", server.grpc_url], cwd=ROOT, check=True)

    rows = json.loads((report / "accuracy.json").read_text())["classes"]
    drawn = [box["class"] for page in sample_pages.values() for box in page["boxes"]]
    for name in ("signature", "stamp"):
        assert rows[name]["boxes"] == rows[name]["hits"] == drawn.count(name)
        assert rows[name]["ap50"] > 0.9
    assert Image.open(report / "worst.jpg").width == 4 * 480
    assert (report / "precision_recall.png").exists()


def yolo_line(box: dict, width: int, height: int) -> str:
    x0, y0, x1, y1 = box["xyxy"]
    class_id = ["signature", "stamp"].index(box["class"])
    centre = f"{(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height}"
    return f"{class_id} {centre} {(x1 - x0) / width} {(y1 - y0) / height}"
