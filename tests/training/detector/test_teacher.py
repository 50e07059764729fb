import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.detector import teacher
from training.detector.labels import Labelled, complete, read_pages
from training.detector.score import Found
from training.detector.teacher import accept, propose, unknown

NONE = np.empty((0, 4), np.float32)


def test_what_scores_enough_and_meets_nothing_known_is_unknown():
    truth = Labelled(
        Path("a"), "a", (100, 100), np.array([0]), np.array([[0, 0, 20, 20]], np.float32),
        np.array([[80, 80, 100, 100]], np.float32),
    )  # fmt: skip
    boxes = [
        [40, 40, 60, 60],  # new
        [40, 40, 60, 60],  # too low a score
        [0, 0, 22, 22],  # boxed
        [0, 0, 22, 22],  # boxed, but as a signature
        [85, 85, 95, 95],  # ignored
    ]
    found = Found(
        np.array(boxes, np.float32),
        np.array([0.9, 0.4, 0.9, 0.9, 0.9]),
        np.array([0, 0, 0, 1, 0]),
    )
    assert unknown(truth, found, 0.5).tolist() == [True, False, False, True, False]


def test_an_accepted_box_completes_its_page(draw_marks, tmp_path, monkeypatch):
    folder = tmp_path / "pages"
    draw_marks(folder, 2)
    before = read_pages(folder)
    labels = json.loads((folder / "labels.json").read_text())
    missing = labels["page_1.png"]["boxes"].pop()  # its stamp
    (folder / "labels.json").write_text(json.dumps(labels))

    def found_all(model, pages, fit):
        """What a perfect teacher would find, in pixels of the input."""
        scale = np.tile([fit.width, fit.height], 2)
        known = [Labelled(page.file, "", (1, 1), page.class_ids, page.xyxy * scale, NONE)
                 for page in pages]  # fmt: skip
        seen = [
            Found(page.xyxy / np.tile(page.size, 2) * scale, np.full(2, 0.9), page.class_ids)
            for page in before
        ]
        return known, seen

    monkeypatch.setattr(teacher, "find", found_all)
    out = tmp_path / "out"
    out.mkdir()
    checkpoint = tmp_path / "last.pt"
    fake = type("Model", (), {"args": {"imgsz": [200, 150], "fit": "upright"}})
    monkeypatch.setattr(teacher, "load_checkpoint", lambda path: (fake, {}))
    (proposal,) = propose([folder], checkpoint, out, 0.5)
    assert proposal.kind == "stamp"
    np.testing.assert_allclose(proposal.xyxy, missing["xyxy"], atol=0.1)
    assert (out / "sheet_0.png").stat().st_size > 0

    table = tmp_path / "completed.json"
    assert [accept(out, [0], table) for _ in range(2)] == [1, 0]
    pages = complete([replace(page, labelled=frozenset()) for page in read_pages(folder)], table)
    assert [page.class_ids.tolist() for page in pages] == [[0, 1], [0, 1]]
    np.testing.assert_allclose(pages[1].xyxy, before[1].xyxy, atol=0.1)
    with pytest.raises(ValueError, match="number 1: 1 were proposed, from 0"):
        accept(out, [1], table)
