import json
import sys
from dataclasses import asdict

import optuna
import pytest
from PIL import Image

from training.detector import tune
from training.detector.pages.splits import write_splits
from training.detector.train import Recipe
from training.detector.tune import best_epoch, draw, search, suggest


def untrained(recipe, pages, real_folders, run, weights):
    """What a run of training leaves that the search reads."""
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps(asdict(recipe)))
    (run / "results.csv").write_text("epoch,metrics/mAP50-95(B)\n1,0.0\n")


def test_a_trial_then_one_more(tmp_path, monkeypatch):
    write_splits(tmp_path / "pages", seed=0, counts={"train": 4, "validation": 2})
    study = tmp_path / "study"
    recipe = Recipe(imgsz=64, epochs=1, batch=2, workers=0, mosaic=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(tune, "train", untrained)
        search(recipe, [tmp_path / "pages"], [], study, None, trials=1)
    options = f"--pages {tmp_path}/pages --out {study} --trials 1"
    options += " --imgsz 64 --epochs 1 --batch 2 --workers 0 --mosaic 0"
    monkeypatch.setattr(sys, "argv", ["tune", *options.split()])
    tune.main()

    recipes = [json.loads((study / f"trial_{i}" / "recipe.json").read_text()) for i in range(2)]
    assert recipes[0]["lr"] != recipes[1]["lr"]
    best = json.loads((study / "best.json").read_text())
    assert best["trials"] == 2
    assert best["value"] == max(best_epoch(study / f"trial_{i}") for i in range(2))
    assert best["recipe"].items() <= recipes[best["trial"]].items()
    assert best["settings"]["imgsz"] == 64
    assert Image.open(study / "search.png").width == 1440


def test_a_trial_that_diverges_leaves_the_others(tmp_path, monkeypatch):
    def diverge_at_first(recipe, pages, real_folders, run, weights):
        if run.name == "trial_0":
            raise RuntimeError("Training failed: NaN persisted for 4 epochs")
        run.mkdir()
        (run / "results.csv").write_text("epoch,metrics/mAP50-95(B)\n1,0.25\n")

    monkeypatch.setattr(tune, "train", diverge_at_first)
    study = search(Recipe(), [], [], tmp_path, None, trials=2)
    assert (study.best_trial.number, study.best_value) == (1, 0.25)


def test_the_best_epoch_counts(tmp_path):
    table = "epoch,metrics/mAP50-95(B)\n1,0.25\n2,0.5\n3,0.375\n"
    (tmp_path / "results.csv").write_text(table)
    assert best_epoch(tmp_path) == 0.5


def test_the_space_is_the_published_one():
    study = optuna.create_study()
    study.optimize(lambda trial: float(bool(suggest(trial))), n_trials=1)
    ranges = {
        name: (space.low, space.high, space.step, space.log)
        for name, space in study.trials[0].distributions.items()
        if name != "optimizer"
    }
    assert ranges == {
        "dropout": (0.0, 0.5, 0.1, False),
        "lr": (1e-5, 1e-1, None, True),
        "box": (3.0, 7.0, 1.0, False),
        "cls": (0.5, 1.5, 0.2, False),
    }
    assert study.trials[0].distributions["optimizer"].choices == ("AdamW", "RMSProp")


def test_trials_of_other_settings_are_refused(tmp_path):
    search(Recipe(), [], [], tmp_path, None, trials=0)
    with pytest.raises(ValueError, match="another imgsz, seed"):
        search(Recipe(imgsz=960, seed=1), [], [], tmp_path, None, trials=0)


def test_trials_that_differ_are_drawn_with_importances(tmp_path):
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: suggest(trial)["box"] / 10, n_trials=8)
    draw(study, tmp_path / "search.png")
    assert Image.open(tmp_path / "search.png").width == 1440
