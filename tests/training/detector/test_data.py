import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inprocess.steps import fit as fits
from training.detector.data import GENERATED, UNMARKED, Views, batches, collate, kind_shares, read
from training.detector.views import Page, View

FIT = fits.Fit(96, 128, "upright")


def page(source):
    ids = np.empty(0, np.int64)
    return Page(None, source, "", ids, *[np.empty((0, 4), np.float32)] * 2, np.ones(2, bool))


def test_pages_come_by_kind_and_by_split(marked, draw_marks, tmp_path):
    draw_marks(tmp_path / "drawn", 3)
    data = read([marked], [tmp_path / "drawn"], tmp_path / "cache", FIT, 0.5, 0)
    assert {kind: len(pages) for kind, pages in data.training.items()} == {
        marked.name: 6,
        GENERATED: 3,
    }
    assert len(data.validation) == 2


def test_a_folder_without_validation_pages_gives_a_share_of_its_sources(draw_marks, tmp_path):
    draw_marks(tmp_path / "mine", 10, split="")
    data = read([tmp_path / "mine"], [], tmp_path / "cache", FIT, 0.2, 0)
    assert (len(data.training["mine"]), len(data.validation)) == (8, 2)


def test_folders_are_seen_by_the_root_of_their_sources():
    kinds = {
        "many": [page(f"{n}") for n in range(16)],
        "few": [page(f"{n // 2}") for n in range(8)],
        GENERATED: [page("g")],
        UNMARKED: [page("u")],
    }
    shares = kind_shares(kinds, 0.3, 0.1)
    assert shares == pytest.approx({"many": 0.4, "few": 0.2, GENERATED: 0.3, UNMARKED: 0.1})
    assert kind_shares({GENERATED: [page("g")]}, 0.3, 0.1) == {GENERATED: 1.0}
    assert kind_shares({"many": kinds["many"]}, 0.3, 0.1) == {"many": 1.0}


def views_of(folder, cache):
    data = read([folder], [], cache, FIT, 0.0, 0)
    return Views(data.training, {folder.name: 1.0}, [], FIT, 0.2, 12, 7)


def cache_of(views):
    (pages,) = views.sources.values()
    return pages[0][0].file.parent


@pytest.fixture(scope="module")
def views(marked, tmp_path_factory):
    return views_of(marked, tmp_path_factory.mktemp("cache"))


def sums(views, first, loaders):
    """Of each batch's pixels, from view `first` on."""
    return [int(batch.pixels.sum()) for batch in batches(views, first, 4, loaders)]


def test_views_are_the_same_in_any_number_of_loaders_and_from_any_start(views, marked):
    """Loaders are forks, which the gRPC clients of other tests in this process do not survive."""
    whole = sums(views, 0, 0)
    assert len(whole) == 3
    command = [sys.executable, "-m", "tests.training.detector.test_data", marked, cache_of(views)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(found.splitlines()[-1]) == whole[1:]


def test_a_batch_by_hand():
    pixels = np.zeros((128, 96, 3), np.uint8)
    pixels[0, 0] = (1, 2, 3)
    none = np.empty((0, 4), np.float32)
    empty = View(pixels, np.empty(0, np.int64), none, none, np.array([True, False]))
    box = np.array([[24, 32, 72, 96]], np.float32)
    one = View(pixels, np.array([1]), box, box, np.array([True, True]))
    batch = collate([empty, one])
    assert batch.pixels.shape == (2, 3, 128, 96)
    assert batch.pixels[0, :, 0, 0].tolist() == [1, 2, 3]
    assert (batch.image.tolist(), batch.class_ids.tolist()) == ([1], [1])
    assert batch.cxcywh.tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert [len(areas) for areas in batch.ignore] == [0, 1]
    assert batch.labelled.tolist() == [[True, False], [True, True]]


if __name__ == "__main__":
    print(json.dumps(sums(views_of(Path(sys.argv[1]), Path(sys.argv[2])), 4, loaders=2)))
