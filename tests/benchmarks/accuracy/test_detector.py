"""Accuracy as served: counted by hand on a page of which the answer is known."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.accuracy.detector import covered, mistakes, operating_point, summary
from countersign import Client
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


def test_a_class_that_a_pages_labels_lack_is_no_mistake(page, found):
    right, false, missed = mistakes(replace(page, labelled=frozenset({"stamp"})), found, THRESHOLDS)
    assert (right, false) == ([], [])
    assert [box.tolist() for box, _ in missed] == [[50, 50, 90, 90]]


def test_the_running_server_is_scored_on_each_labelled_folder(
    server, tmp_path, samples, sample_pages
):
    """On the samples themselves, which the server is known to find; once in each form."""
    folders = [written(tmp_path, form, samples, sample_pages) for form in ("json", "yolo")]
    blank = tmp_path / "blank"
    (blank / "images").mkdir(parents=True)
    Image.new("RGB", (300, 400), "white").save(blank / "images" / "white.png")
    (blank / "labels.json").write_text(
        json.dumps({"white.png": {"width": 300, "height": 400, "boxes": []}})
    )

    report = tmp_path / "report"
    command = ["-m", "benchmarks.accuracy.detector", "--out", report, "--url", server.grpc_url]
    command += ["--pages", *folders, blank]
    printed = subprocess.check_output([sys.executable, *map(str, command)], cwd=ROOT, text=True)

    rows = json.loads((report / "accuracy.json").read_text())["rows"]
    assert list(rows) == ["json", "yolo", "blank", "all"]
    drawn = [box["class"] for page in sample_pages.values() for box in page["boxes"]]
    for name in ("signature", "stamp"):
        for kind in ("json", "yolo"):
            row = rows[kind][name]
            assert row["boxes"] == row["hits"] == drawn.count(name)
            assert row["intervals"]["ap50"][0] > 0.9
        assert rows["all"][name]["boxes"] == 2 * drawn.count(name)
        assert rows["blank"][name]["ap50"] is None
        assert rows["blank"][name]["intervals"]["false_alarms"] == [0, 0]
    for kind in ("json", "yolo", "blank"):
        assert Image.open(report / f"worst_{kind}.jpg").width == 4 * 480
    assert (report / "precision_recall.png").exists()
    assert len(printed.splitlines()) == 1 + 2 * len(rows)

    command = [*command[:-2], "--confidence", "1"]  # no mark is as sure
    subprocess.check_call([sys.executable, *map(str, command)], cwd=ROOT)
    row = json.loads((report / "accuracy.json").read_text())["rows"]["json"]["signature"]
    assert (row["recall"], row["recall25"], row["false_alarms"]) == (0, 0, 0)
    assert row["ap50"] > 0.9


def test_thresholds_are_those_of_the_point_asked_for(server):
    card = ROOT / "model_repository/document_yolo/8/model_card.json"
    thresholds = json.loads(card.read_text())["thresholds"]
    with Client(server.grpc_url) as client:
        assert operating_point(client, "document_detector") == thresholds["confidence"]
        assert operating_point(client, "document_detector", "review") == thresholds["review"]
        with pytest.raises(ValueError, match="'captcha_reader', the server has document_detector"):
            operating_point(client, "captcha_reader")


def written(folder: Path, form: str, samples: Path, sample_pages: dict) -> Path:
    """The sample pages as JPEG files below `folder`, with labels in that form."""
    pages = folder / form
    labels = {}
    for name, page in sample_pages.items():
        image = Image.open(samples / name).convert("RGB")
        labels[f"{Path(name).stem}.jpg"] = {
            "width": image.width,
            "height": image.height,
            "boxes": page["boxes"],
        }
        images = pages / "images" if form == "json" else pages / "images" / "val"
        images.mkdir(parents=True, exist_ok=True)
        image.save(images / f"{Path(name).stem}.jpg", quality=95)
    if form == "json":
        (pages / "labels.json").write_text(json.dumps(labels))
    else:
        (pages / "labels" / "val").mkdir(parents=True)
        for name, page in labels.items():
            lines = [yolo_line(box, page["width"], page["height"]) for box in page["boxes"]]
            (pages / "labels" / "val" / f"{Path(name).stem}.txt").write_text("\n".join(lines))
    return pages


def yolo_line(box: dict, width: int, height: int) -> str:
    x0, y0, x1, y1 = box["xyxy"]
    class_id = ["signature", "stamp"].index(box["class"])
    centre = f"{(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height}"
    return f"{class_id} {centre} {(x1 - x0) / width} {(y1 - y0) / height}"
