"""The mean of checkpoints: weights that one training went through often find more together.

    python -m training.detector.mean RUN/weights/last.pt RUN2/weights/last.pt [...] --out MEAN

MEAN gets weights/last.pt, to export or to train on, and recipe.json, which names what it is the
mean of. Stochastic weight averaging: Izmailov et al., "Averaging Weights Leads to Wider Optima and
Better Generalization", 2018.
"""

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn.tasks import load_checkpoint

from training.detector.train import origin


def mean(models: Sequence[nn.Module]) -> nn.Module:
    """A model of float32 whose weights and batch statistics are the mean of those of `models`.

    ValueError if these differ in names or shapes.
    """
    states = [model.float().state_dict() for model in models]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    for number, given in enumerate(shapes):
        if given != shapes[0]:
            name, shape = next(iter(given.items() ^ shapes[0].items()))
            raise ValueError(f"checkpoint {number + 1}: {name} {tuple(shape)} is not in both")
    out = deepcopy(models[0])
    out.load_state_dict(
        {
            name: torch.stack([state[name] for state in states]).mean(0)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
    )
    return out


def write(checkpoints: Sequence[Path], out: Path) -> None:
    """Writes the mean of `checkpoints` into the folder `out`.

    ValueError if one is no checkpoint; raises as `mean`.
    """
    for checkpoint in checkpoints:
        if not zipfile.is_zipfile(checkpoint):  # what torch.save writes
            raise ValueError(f"{checkpoint}: no checkpoint")
    loaded = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    model = mean([model for model, _ in loaded])
    (out / "weights").mkdir(parents=True, exist_ok=True)
    state = {"optimizer": None, "ema": None, "epoch": -1}
    torch.save(loaded[-1][1] | state | {"model": model.half()}, out / "weights" / "last.pt")
    recipe = {"mean_of": [origin(checkpoint) for checkpoint in checkpoints]}
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help=".pt files of one architecture")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args()
    try:
        write(given.checkpoints, given.out)
    except ValueError as error:
        sys.exit(f"training.detector.mean: {error}")


if __name__ == "__main__":
    main()
