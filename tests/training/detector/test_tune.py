import csv
import json
import sys
from dataclasses import asdict

import optuna
import pytest
from PIL import Image

from training.detector import tune
from training.detector.train import Recipe
from training.detector.tune import best_checkpoint, draw, search, suggest


def write_progress(run, *figures):
    run.mkdir(exist_ok=True)
    with (run / "progress.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("views", "all: signature", "all: stamp", "letters: stamp"))
        writer.writerows(figures)


def untrained(recipe, real, generated, run, start, cache):
    """What a run of training leaves that the search reads."""
    write_progress(run, (2, 0.0, 0.0, 0.0))
    (run / "recipe.json").write_text(json.dumps(asdict(recipe)))


def test_a_trial_then_one_more(marked, tmp_path, monkeypatch):
    study = tmp_path / "study"
    options = f"--real {marked} --out {study} --trials 1 --generated-share 0 --loaders 0"
    options += " --height 64 --width 64 --views 2 --batch 2 --model yolov8n.yaml"
    monkeypatch.setattr(sys, "argv", ["tune", *options.split()])
    with monkeypatch.context() as patch:
        patch.setattr(tune, "train", untrained)
        tune.main()
    tune.main()

    recipes = [json.loads((study / f"trial_{i}" / "recipe.json").read_text()) for i in range(2)]
    assert recipes[0]["lr"] != recipes[1]["lr"]
    best = json.loads((study / "best.json").read_text())
    assert best["trials"] == 2
    assert best["value"] == max(best_checkpoint(study / f"trial_{i}") for i in range(2))
    assert best["recipe"].items() <= recipes[best["trial"]].items()
    assert best["settings"]["width"] == 64
    assert Image.open(study / "search.png").format == "PNG"


def test_a_trial_that_diverges_leaves_the_others(tmp_path, monkeypatch):
    def diverge_at_first(recipe, real, generated, run, start, cache):
        if run.name == "trial_0":
            raise FloatingPointError("view 32: loss nan")
        write_progress(run, (2, 0.25, 0.75, 1.0))

    monkeypatch.setattr(tune, "train", diverge_at_first)
    study = search(Recipe(), [], [], tmp_path, None, trials=2)
    assert (study.best_trial.number, study.best_value) == (1, 0.5)


def test_the_best_checkpoint_counts_by_the_mean_of_both_classes(tmp_path):
    write_progress(tmp_path, (1, 0.2, 0.4, 1.0), (2, 0.5, 0.3, 0.0), (3, 0.4, 0.2, 0.0))
    assert best_checkpoint(tmp_path) == pytest.approx(0.4)


def test_trials_of_other_settings_are_refused(tmp_path):
    search(Recipe(), [], [], tmp_path, None, trials=0)
    with pytest.raises(ValueError, match="another width, seed"):
        search(Recipe(width=960, seed=1), [], [], tmp_path, None, trials=0)


def test_trials_that_differ_are_drawn_with_importances(tmp_path):
    study = optuna.create_study(direction="maximize")
    study.optimize(lambda trial: suggest(trial)["box"] / 10, n_trials=8)
    draw(study, tmp_path / "search.png")
    assert Image.open(tmp_path / "search.png").format == "PNG"
