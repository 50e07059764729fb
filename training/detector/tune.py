"""Search the detector's hyper-parameters with Optuna.

    python -m training.detector.tune --out STUDY --real DIR [--start PT] --trials 20 --views 4000

Each trial is a short run of training.detector.train; what is not searched comes from the command
line, as there. The best is the one with the highest AP50, the mean of both classes, that any of its
checkpoints reaches on the validation pages.

STUDY gets study.db, best.json, search.png and a run in trial_N for each trial. The same line again
adds as many trials.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna

from training.detector.train import Recipe, add_arguments, read_progress, recipe_of, train

matplotlib.use("Agg")
from matplotlib import pyplot

SEARCHED = ("lr", "weight_decay", "box", "cls")
VIEWS = 4_000  # of a trial, if the command line names none


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """A value for each of SEARCHED."""
    return {
        "lr": trial.suggest_float("lr", 1e-5, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True),
        "box": trial.suggest_float("box", 3.0, 10.0, step=1.0),
        "cls": trial.suggest_float("cls", 0.3, 1.5, step=0.2),
    }


def best_checkpoint(run: Path) -> float:
    """The highest AP50 in a run's progress.csv, the mean of the classes that have one."""
    return max(
        float(np.mean([value for name, value in line.items() if name.startswith("all: ")]))
        for line in read_progress(run)
    )


def search(
    recipe: Recipe,
    real: Sequence[Path],
    generated: Sequence[Path],
    out: Path,
    start: Path | None,
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
        for name, folders in (("real", real), ("generated_pages", generated))
    }
    settings |= {"start": str(start or "")}
    before = study.user_attrs.get("settings", settings)
    changed = [name for name in settings if settings[name] != before.get(name)]
    if changed:
        raise ValueError(f"{out}: its trials had another {', '.join(changed)}; take another --out")
    study.set_user_attr("settings", settings)

    def objective(trial: optuna.Trial) -> float:
        run = out / f"trial_{trial.number}"
        try:
            train(replace(recipe, **suggest(trial)), real, generated, run, start, out / "cache")
        except FloatingPointError as error:  # lr is searched up to where it diverges
            raise optuna.TrialPruned(str(error)) from error
        return best_checkpoint(run)

    study.optimize(objective, n_trials=trials)
    return study


def write_best(study: optuna.Study, target: Path) -> None:
    """The best trial's values, under their names in the recipe."""
    best = {
        "objective": "AP50 on the validation pages, mean of both classes, best checkpoint",
        "value": study.best_value,
        "trial": study.best_trial.number,
        "trials": len(study.trials),
        "recipe": study.best_params,
        "settings": study.user_attrs["settings"],
    }
    target.write_text(json.dumps(best, indent=2) + "\n")


def draw(study: optuna.Study, target: Path) -> None:
    """AP50 by trial with the best so far, and over each searched value."""
    done = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    values = [trial.values[0] for trial in done]
    # The shares are undefined where all trials came out alike.
    shares = optuna.importance.get_param_importances(study) if len(set(values)) > 1 else {}
    figure, axes = pyplot.subplots(1, 5, figsize=(15, 3.5), sharey=True)
    history, *panels = axes.flat
    history.plot([trial.number for trial in done], values, "o")
    best_so_far = [max(values[: i + 1]) for i in range(len(values))]
    history.step([trial.number for trial in done], best_so_far, where="post")
    history.set(xlabel="trial", ylabel="AP50")
    for axis, name in zip(panels, SEARCHED, strict=True):
        axis.plot([trial.params[name] for trial in done], values, "o")
        share = f" (importance {shares[name]:.2f})" if name in shares else ""
        axis.set_xlabel(name + share)
        if name in ("lr", "weight_decay"):
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
    parser.set_defaults(views=VIEWS)
    parser.add_argument("--trials", type=int, default=20, help="how many more")
    options = vars(parser.parse_args())
    out = options["out"]
    study = search(
        recipe_of(options), options["real"], options["generated_folders"], out, options["start"],
        options["trials"],
    )  # fmt: skip
    write_best(study, out / "best.json")
    draw(study, out / "search.png")
    print(f"{out}: AP50 {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()
