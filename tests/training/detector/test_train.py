import json

import pytest
import torch
import torch.distributed as dist

from training.detector.pages.__main__ import write_splits
from training.detector.train import Recipe, _float, average_weights, data_files, train


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_splits(folder, seed=0, counts={"train": 6, "validation": 2})
    return folder


def test_every_process_gets_its_own_pages(pages, tmp_path):
    files = data_files(pages, [], tmp_path, Recipe(processes=2))
    first, second = ((tmp_path / f"train_{i}.txt").read_text().split() for i in range(2))
    assert len(files) == 2
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


def test_no_pages_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="images/train"):
        data_files(tmp_path, [], tmp_path, Recipe())


def test_own_pages_alone_are_enough(pages, tmp_path):
    """The generated folder stands in for a user's: it is in the YOLO layout too."""
    files = data_files(None, [pages], tmp_path, Recipe(real_holdout=2, real_copies=0))
    kept, held = ((tmp_path / name).read_text().split() for name in ("train_0.txt", "val.txt"))
    assert len(files) == 1
    assert (len(kept), len(held)) == (6, 2)


def test_nothing_to_train_on_is_an_error(pages, tmp_path):
    with pytest.raises(ValueError, match="give --pages, --real or both"):
        data_files(None, [], tmp_path, Recipe())
    with pytest.raises(ValueError, match="8 pages, none left with real_holdout 20"):
        data_files(None, [pages], tmp_path, Recipe())


def test_weights_are_averaged_over_processes(monkeypatch):
    """Two processes, the other one holding weights that are 2 larger: the mean is 1 more."""
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.bias.fill_(-1.0)
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.mul_(2).add_(2))
    average_weights(model, processes=2)
    assert model.weight.tolist() == [[4.0, 4.0]]
    assert model.bias.tolist() == [0.0]


def test_nested_outputs_become_float32():
    half = torch.ones(1, dtype=torch.bfloat16)
    outputs = _float({"boxes": half, "features": [half, (half, "name")]})
    assert outputs["boxes"].dtype == torch.float32
    assert outputs["features"][1][0].dtype == torch.float32
    assert outputs["features"][1][1] == "name"


def test_a_short_run_leaves_checkpoint_recipe_and_curves(pages, tmp_path):
    recipe = Recipe(imgsz=64, epochs=1, batch=2, workers=0, mosaic=0.0)
    train(recipe, pages, [], tmp_path / "run", weights=None, resume=False)
    for name in ("weights/last.pt", "results.csv", "results.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    saved = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (saved["imgsz"], saved["seed"]) == (64, 0)


def test_a_recipe_tells_what_its_weights_came_from(pages, tmp_path):
    recipe = Recipe(imgsz=64, epochs=1, batch=2, workers=0, mosaic=0.0)
    train(recipe, pages, [], tmp_path / "first", weights=None, resume=False)
    checkpoint = tmp_path / "first" / "weights" / "last.pt"
    train(recipe, pages, [], tmp_path / "second", weights=checkpoint, resume=False)
    first, second = (
        json.loads((tmp_path / run / "recipe.json").read_text()) for run in ("first", "second")
    )
    assert first["weights"] == ""
    assert second["weights"] == first
