"""Search the detector's hyper-parameters with Optuna.

    python -m training.detector.tune --out STUDY [--pages DIR ...] [--real DIR ...] --trials 20

Each trial is a short run of training.detector.train; what is not searched comes from the command
line, as there. The best is the one with the highest mAP50-95, the mean of both classes, that any of
its epochs reaches on the validation pages.

The space is the one published for tech4humans/yolov8s-signature-detector. Its dropout did nothing,
since ultralytics drops out in classifiers alone; here it acts, before the head. `lr` is lr0 there.

STUDY gets study.db, best.json, search.png and a run in trial_N for each trial. The same line again
adds as many trials.
"""

import argparse
import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import optuna

from training.detector.train import Recipe, add_arguments, recipe_of, train

matplotlib.use("Agg")
from matplotlib import pyplot

OBJECTIVE = "metrics/mAP50-95(B)"  # a column of results.csv
SEARCHED = ("dropout", "lr", "box", "cls", "optimizer")
EPOCHS = 5  # of a trial, if the command line names none


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """A value for each of SEARCHED."""
    return {
        "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
        "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        "box": trial.suggest_float("box", 3.0, 7.0, step=1.0),
        "cls": trial.suggest_float("cls", 0.5, 1.5, step=0.2),
        "optimizer": trial.suggest_categorical("optimizer", ("AdamW", "RMSProp")),
    }


def best_epoch(run: Path) -> float:
    """The highest mAP50-95 in a run's results.csv."""
    with (run / "results.csv").open() as table:
        return max(float(row[OBJECTIVE]) for row in csv.DictReader(table))


def search(
    recipe: Recipe,
    pages: list[Path],
    real_folders: list[Path],
    out: Path,
    weights: Path | None,
    trials: int,
) -> optuna.Study:
    """`trials` more trials of the study in `out`, each seen by the ones after it.

    A trial that diverges has no value. ValueError if the earlier trials had other settings, as they
    would not compare.
    """
    out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{out / 'study.db'}",
        study_name="detector",
        direction="maximize",
        load_if_exists=True,
    )
    # Seeded anew, a sampler would repeat its first trials.
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    settings = {name: value for name, value in asdict(recipe).items() if name not in SEARCHED}
    settings |= {
        name: [str(folder) for folder in folders]
        for name, folders in (("pages", pages), ("real", real_folders))
    }
    settings |= {"weights": str(weights or "")}
    before = study.user_attrs.get("settings", settings)
    changed = [name for name in settings if settings[name] != before.get(name)]
    if changed:
        raise ValueError(f"{out}: its trials had another {', '.join(changed)}; take another --out")
    study.set_user_attr("settings", settings)

    def objective(trial: optuna.Trial) -> float:
        run = out / f"trial_{trial.number}"
        try:
            train(replace(recipe, **suggest(trial)), pages, real_folders, run, weights)
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
            raise optuna.TrialPruned(
                str(error)
            ) from error  # lr is searched up to where it diverges
        return best_epoch(run)

    study.optimize(objective, n_trials=trials)
    return study


def write_best(study: optuna.Study, target: Path) -> None:
    """The best trial's values, under their names in the recipe."""
    best = {
        "objective": "mAP50-95 on the validation pages, mean of both classes, best epoch",
        "value": study.best_value,
        "trial": study.best_trial.number,
        "trials": len(study.trials),
        "recipe": study.best_params,
        "settings": study.user_attrs["settings"],
    }
    target.write_text(json.dumps(best, indent=2) + "\n")


def draw(study: optuna.Study, target: Path) -> None:
    """mAP50-95 by trial with the best so far, and over each searched value."""
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    values = [trial.values[0] for trial in done]
    # The shares are undefined where all trials came out alike.
    shares = optuna.importance.get_param_importances(study) if len(set(values)) > 1 else {}
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), sharey=True)
    history, *panels = axes.flat
    history.plot([trial.number for trial in done], values, "o")
    best_so_far = [max(values[: i + 1]) for i in range(len(values))]
    history.step([trial.number for trial in done], best_so_far, where="post")
    history.set(xlabel="trial", ylabel="mAP50-95")
    for axis, name in zip(panels, SEARCHED, strict=True):
        axis.plot([trial.params[name] for trial in done], values, "o")
        share = f" (importance {shares[name]:.2f})" if name in shares else ""
        axis.set_xlabel(name + share)
        if name == "lr":
            axis.set_xscale("log")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser, chosen_elsewhere=SEARCHED)
    parser.set_defaults(epochs=EPOCHS)
    parser.add_argument("--trials", type=int, default=20, help="how many more")
    given = vars(parser.parse_args())
    out = given["out"]
    study = search(
        recipe_of(given), given["pages"], given["real"], out, given["weights"], given["trials"]
    )
    write_best(study, out / "best.json")
    draw(study, out / "search.png")
    print(f"{out}: mAP50-95 {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()
