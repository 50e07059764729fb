"""As much training as fits into some minutes on a GPU with many cores, or on whatever is there.

    python -m training.detector.accelerator --real PACK/letters ... --start shipped.pt --out RUN

Pages are drawn on all cores for a tenth of the time; the rest is one run whose rate falls to the
end in time, with a checkpoint every two minutes. Without --start our own network is trained from a
backbone that knows ImageNet, and with `--network yolo11m.yaml` a larger one from nothing.
training.detector.pack makes PACK, small enough to be carried there.
"""

import argparse
import os
import time
from pathlib import Path

import torch

from training.detector.train import Recipe, draw_pages, train

DRAWING = 0.1  # share of the time
PAGES_A_CORE = 3.0  # drawn and shrunk a second, with 14 processes on 16 cores beside a GPU
ENDING = 40.0  # s that the last validation and writing may take


def recipe_for(network: str, gpu: bool, cores: int) -> Recipe:
    """What suits the machine. The rate grows with the root of the batch."""
    batch = 128 if gpu else 16
    return Recipe(
        model=network,
        views=100_000_000,  # the time ends it
        batch=batch,
        lr=7e-4 * (batch / 16) ** 0.5,
        warmup=500 * batch,
        loaders=max(1, cores - 1),
        minutes=2.0,
    )


def run(
    recipe: Recipe, real: list[Path], out: Path, start: Path | None, minutes: float
) -> dict[str, float]:
    """Draw pages, then train, both within `minutes`; returns and raises as `train`."""
    begun = time.monotonic()
    torch.backends.cudnn.benchmark = True  # all batches have one size
    count = int(minutes * 60 * DRAWING * PAGES_A_CORE * (os.cpu_count() or 1))
    out.mkdir(parents=True, exist_ok=True)
    generated = draw_pages(out, recipe.drawn_seed, max(1, count))
    left = minutes - (time.monotonic() - begun + ENDING) / 60
    return train(recipe, real, [generated], out, start, minutes=max(0.0, left))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, action="append", required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--network", default=Recipe.model)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    options = parser.parse_args()
    recipe = recipe_for(options.network, torch.cuda.is_available(), os.cpu_count() or 1)
    try:
        run(recipe, options.real, options.out, options.start, options.minutes)
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.accelerator: {error}\n")


if __name__ == "__main__":
    main()
