"""Labels completed by a teacher whose answers are known, and by hand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.detector import teach
from training.detector.labels import Labelled, complete, digest, training_pages
from training.detector.score import Found

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "training" / "detector" / "shipped.pt"


@pytest.fixture
def pages(draw_marks, tmp_path) -> list[Labelled]:
    """Three training pages of which one is complete, and a page of dev."""
    draw_marks(tmp_path, 3)
    draw_marks(tmp_path, 1, "dev", first=3)
    labels = json.loads((tmp_path / "labels.json").read_text())
    for name in ("page_0.png", "page_1.png", "page_3.png"):
        labels[name]["labelled"] = ["signature"]
        labels[name]["boxes"] = labels[name]["boxes"][:1]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    return training_pages(tmp_path)[0]


def answers(**scores: float):
    """A teacher that finds a signature, and on page_N a stamp of the score told, if any."""

    def ask(page: Labelled) -> Found:
        stamp = [scores[page.path.stem]] if page.path.stem in scores else []
        boxes = np.array([[1, 2, 30, 40]] * (1 + len(stamp)), np.float32)
        return Found(boxes, np.array([0.3, *stamp]), np.array([0] + [1] * len(stamp)))

    return ask


def test_what_is_sure_becomes_a_box_and_what_is_not_is_looked_at(pages):
    sure, doubtful = teach.asked(pages, answers(page_0=0.9, page_1=0.5, page_2=0.9))
    first, second, _ = (digest(page.path) for page in pages)
    box = {"class": "stamp", "xyxy": [1, 2, 30, 40]}
    assert sure == {first: {"boxes": [box | {"by": "teacher"}], "labelled": ["stamp"]}}
    assert {name: entry["boxes"] for name, entry in doubtful.items()} == {
        second: [box | {"score": 0.5}]
    }
    assert teach.looked_at(doubtful) == {
        second: {"boxes": [box | {"by": "hand"}], "labelled": ["stamp"]}
    }


def test_a_page_without_an_answer_is_complete_and_has_none(pages):
    sure, doubtful = teach.asked(pages, answers())
    assert [entry["boxes"] for entry in sure.values()] == [[], []]
    assert doubtful == {}


def test_a_box_by_hand_must_be_one_of_the_class_that_was_asked_for(pages):
    entry = {"file": "a.png", "boxes": [], "labelled": ["stamp"]}
    for box in (
        {"class": "signature", "xyxy": [0, 0, 1, 1]},
        {"class": "stamp", "xyxy": [5, 0, 1, 1]},
    ):
        with pytest.raises(ValueError, match=r"a\.png: .* is no box of \['stamp'\]"):
            teach.looked_at({"digest": entry | {"boxes": [box]}})


def test_the_commands_complete_a_folder(pages, tmp_path):
    """The shipped detector asked, whatever it says; then all of it as looked at."""
    table, look = tmp_path / "completed.json", tmp_path / "look"
    start = [sys.executable, "-m", "training.detector.teach"]
    ask = ["ask", SHIPPED, "--pages", tmp_path, "--out", look, "--table", table]
    for command in (ask, ["looked", look, "--table", table]):
        subprocess.run([*start, *map(str, command)], cwd=ROOT, check=True)
    added = json.loads(table.read_text())
    assert set(added) == {digest(page.path) for page in pages[:2]}
    assert all(page.labelled == {"signature", "stamp"} for page in complete(pages, table))
    assert {box["by"] for entry in added.values() for box in entry["boxes"]} <= {"hand", "teacher"}
    drawn = json.loads((look / "doubtful.json").read_text())
    assert len(list(look.glob("*.jpg"))) == len(drawn)
