import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from inprocess.steps import fit as fits
from training.detector import accelerator
from training.detector.accelerator import recipe_for, run
from training.detector.labels import read_pages
from training.detector.pack import best_quality, pack
from training.detector.train import read_progress

FIT = fits.Fit(150, 200, "upright")


def test_packed_pages_are_the_same_pages_and_smaller(marked, tmp_path):
    size = pack([marked], tmp_path / "pack", FIT, 2**20)
    assert size < 2**20
    packed = tmp_path / "pack" / marked.name
    for split, count in (("train", 6), ("validation", 2)):
        before, after = read_pages(marked, split), read_pages(packed, split)
        assert len(after) == count
        for page, small in zip(before, after, strict=True):
            assert small.size == (150, 200)
            np.testing.assert_allclose(small.xyxy * 2, page.xyxy, atol=0.02)
            assert small.source == page.source
            whole = cv2.resize(cv2.imread(str(page.path)), (150, 200),
                               interpolation=cv2.INTER_AREA)  # fmt: skip
            assert np.abs(cv2.imread(str(small.path)).astype(int) - whole).mean() < 4


def test_quality_gives_way_to_the_limit(marked):
    pages = read_pages(marked)
    assert best_quality(pages, FIT, 2**20) == 90
    with pytest.raises(ValueError, match=r"8 pages have \d+ bytes at quality 20, limit 1000"):
        best_quality(pages, FIT, 1000)


def test_a_short_lease_is_dry_run_on_a_cpu(marked, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "ENDING", 0)
    monkeypatch.setattr(accelerator, "PAGES_A_CORE", 0.5)
    assert recipe_for("yolo11m.yaml", gpu=True, cores=16).batch == 128
    recipe = replace(
        recipe_for("lite", gpu=False, cores=1), height=64, width=64, batch=2, loaders=0
    )
    figures = run(recipe, [marked], tmp_path, None, minutes=0.15)
    assert "all: stamp" in figures
    (line,) = read_progress(tmp_path)
    assert line["views"] > 2
    assert json.loads((tmp_path / "recipe.json").read_text())["model"] == "lite"
