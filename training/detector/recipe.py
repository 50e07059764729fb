"""Train the runs of a recipe file, one after the other.

    python -m training.detector.recipe training/detector/recipe.yaml --real DIR ... --out RUNS

RUNS gets a folder for each run and its generated pages. The same command goes on where it stopped.
A run with `seeds: N` is trained N times from where the one before ended, and the mean of their
weights goes on. The last run's last.pt is what the recipe makes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from training.detector.train import Recipe, build, origin, train, update_mean, write_checkpoint


@dataclass(frozen=True)
class Run:
    """One step of a recipe file: what is trained, and how many times with another seed."""

    recipe: Recipe
    seeds: int = 1


def read_recipe(file: Path) -> tuple[Path | None, dict[str, Run]]:
    """What is started from, and the runs by name.

    ValueError names a field that no run has, or a run of no seed.
    """
    content = yaml.safe_load(file.read_text())
    known = {field.name for field in fields(Recipe)}
    runs: dict[str, Run] = {}
    for values in content["runs"]:
        name, seeds, settings = values.pop("name"), values.pop("seeds", 1), values
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"{file}: run {name} has {', '.join(unknown)}, which no run has")
        if seeds < 1:
            raise ValueError(f"{file}: run {name} has seeds {seeds}, at least 1")
        runs[name] = Run(Recipe(**settings), seeds)
    start: Any = content.get("start")
    return Path(start) if start else None, runs


def run(file: Path, real: Sequence[Path], out: Path) -> Path:
    """Train what is left of the runs; returns the last one's checkpoint."""
    start, runs = read_recipe(file)
    for name, step in runs.items():
        print(f"run {name}", flush=True)
        ends = []
        for number in range(step.seeds):
            folder = out / (name if step.seeds == 1 else f"{name}_{number}")
            recipe = replace(step.recipe, seed=step.recipe.seed + number)
            train(recipe, real, [], folder, start, cache=out / "cache")
            ends.append(folder / "last.pt")
        start = ends[0] if len(ends) == 1 else average(ends, step.recipe, out / name)
    if start is None:
        raise ValueError(f"{file}: no runs")
    return start


def average(checkpoints: Sequence[Path], recipe: Recipe, out: Path) -> Path:
    """Write the mean of the weights of checkpoints of one recipe into `out`; returns its file."""
    mean, *others = (build(replace(recipe, model=""), checkpoint) for checkpoint in checkpoints)
    for number, other in enumerate(others, 1):
        update_mean(mean, other, number / (number + 1))
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(
        json.dumps({"mean_of": [origin(one) for one in checkpoints]}, indent=2) + "\n"
    )
    write_checkpoint(mean.eval(), recipe, out / "last.pt")
    return out / "last.pt"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, help="YAML file")
    parser.add_argument(
        "--real", type=Path, action="append", default=[], help="folder of labelled pages"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options = parser.parse_args()
    try:
        print(run(options.recipe, options.real, options.out))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.recipe: {error}\n")


if __name__ == "__main__":
    main()
