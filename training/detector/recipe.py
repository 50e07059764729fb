"""Train the runs of a recipe file, one after the other.

    python -m training.detector.recipe training/detector/recipe.yaml --real DIR ... --out RUNS

RUNS gets a folder for each run and its generated pages. The same command goes on where it stopped.
The last run's last.pt is what the recipe makes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from training.detector.train import Recipe, train


def read_recipe(file: Path) -> tuple[Path | None, dict[str, Recipe]]:
    """What is started from, and the runs by name.

    ValueError names a field that no run has.
    """
    content = yaml.safe_load(file.read_text())
    known = {field.name for field in fields(Recipe)}
    runs: dict[str, Recipe] = {}
    for values in content["runs"]:
        name, settings = values.pop("name"), values
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"{file}: run {name} has {', '.join(unknown)}, which no run has")
        runs[name] = Recipe(**settings)
    start: Any = content.get("start")
    return Path(start) if start else None, runs


def run(file: Path, real: Sequence[Path], out: Path) -> Path:
    """Train what is left of the runs; returns the last one's checkpoint."""
    start, runs = read_recipe(file)
    for name, recipe in runs.items():
        print(f"run {name}", flush=True)
        train(recipe, real, [], out / name, start, cache=out / "cache")
        start = out / name / "last.pt"
    if start is None:
        raise ValueError(f"{file}: no runs")
    return start


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
