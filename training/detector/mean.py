"""The mean of checkpoints: weights that one training went through often find more together.

    python -m training.detector.mean RUN/weights/last.pt RUN2/weights/last.pt [...] --out MEAN
        [--images PAGES/images/train --images RUN/real/train/images]

MEAN gets weights/last.pt, to export or to train on, and recipe.json, which names what it is the
mean of. With --images, the batch statistics are those that the mean itself has on images like the
ones it was trained on, instead of the mean of its makers' statistics. Stochastic weight averaging:
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.
"""

import argparse
import json
import random
import sys
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from ultralytics.data.augment import LetterBox
from ultralytics.nn.tasks import load_checkpoint

from training.detector.train import origin

IMAGES = 960  # to measure batch statistics on
BATCH = 16


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


def measure_statistics(model: nn.Module, images: Sequence[Path], side: int) -> None:
    """Set the batch statistics to the mean over `images`, in batches, fitted into `side` px."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
        norm.train()
    fit = LetterBox((side, side))
    for start in tqdm(range(0, len(images), BATCH), desc="statistics", unit="batch"):
        pixels: list[Any] = [
            fit(image=cv2.imread(str(path))) for path in images[start : start + BATCH]
        ]
        batch = torch.from_numpy(np.stack(pixels)[..., ::-1].copy()).permute(0, 3, 1, 2)
        with torch.no_grad():
            model(batch.float() / 255)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    model.eval()


def write(checkpoints: Sequence[Path], out: Path, folders: Sequence[Path] = ()) -> None:
    """Writes the mean of `checkpoints` into the folder `out`, its batch statistics measured on
    IMAGES images out of the .jpg files in `folders`, if given.

    ValueError if one is no checkpoint, or no folder holds an image; raises as `mean`.
    """
    for checkpoint in checkpoints:
        if not zipfile.is_zipfile(checkpoint):  # what torch.save writes
            raise ValueError(f"{checkpoint}: no checkpoint")
    loaded = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    model = mean([model for model, _ in loaded])
    if folders:
        images = sorted(path for folder in folders for path in folder.glob("*.jpg"))
        if not images:
            raise ValueError(f"{', '.join(map(str, folders))}: no *.jpg")
        random.Random(0).shuffle(images)
        measure_statistics(model, images[:IMAGES], loaded[-1][1]["train_args"]["imgsz"])
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
    parser.add_argument(
        "--images", type=Path, action="append", default=[],
        help="folder of training images to measure the batch statistics on",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        write(given.checkpoints, given.out, given.images)
    except ValueError as error:
        sys.exit(f"training.detector.mean: {error}")


if __name__ == "__main__":
    main()
