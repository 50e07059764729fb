"""What each choice in the CAPTCHA reader is worth, over several seeds.

    python -m training.captcha.ablation --images DIR --test DIR --out RUNS

trains every variant on the same images and scores it on the same test images, in this process:
RUNS/ablation.json has the exact match of each seed, RUNS/ablation.png shows them. Variants that
RUNS already holds are not trained anew. What the graph's precision is worth stands in the model
card that export.captcha writes, with and without --int8.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import ctc_loss
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from training.captcha.images import DIGITS, Images, load
from training.captcha.model import CLASSES
from training.captcha.model import load as load_reader
from training.captcha.train import TrainConfig, logits_of, shuffled, train

matplotlib.use("Agg")
from matplotlib import pyplot

SIZES = (250, 500, 1000, 2000, 4000)
BLANK = CLASSES  # CTC's eleventh class


class Crnn(nn.Module):
    """Convolutions, a bidirectional GRU along the width and CTC, after Shi et al.
    (arXiv 1507.05717): pixels (B, 50, 200) -> log-probabilities (25, B, 11).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width, stride in ((32, 2), (64, 2), (128, 2), (128, (2, 1)), (128, (2, 1))):
            layers += [
                nn.Conv2d(before, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.sequence = nn.GRU(before * 2, 128, bidirectional=True)
        self.classify = nn.Linear(256, CLASSES + 1)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.convolutions(pixels.float()[:, None] / 127.5 - 1)  # (B, 128, 2, 25)
        columns = maps.flatten(1, 2).permute(2, 0, 1).float()  # (25, B, 256)
        return self.classify(self.sequence(columns)[0]).float().log_softmax(-1)


def ctc_texts(log_probabilities: Tensor) -> list[list[int]]:
    """The likeliest digits of each text: repeats joined, then blanks dropped."""
    return [
        [digit for digit in torch.unique_consecutive(path).tolist() if digit != BLANK]
        for path in log_probabilities.argmax(-1).T  # (B, 25)
    ]


def ctc_exact_match(crnn: Crnn, images: Images) -> float:
    """The share of texts read right."""
    crnn.eval()
    with torch.no_grad():
        texts = [
            text
            for start in range(0, len(images), 128)
            for text in ctc_texts(crnn(torch.from_numpy(images.pixels[start : start + 128])))
        ]
    right = [text == label for text, label in zip(texts, images.labels.tolist(), strict=True)]
    return float(np.mean(right))


def train_crnn(images: Images, config: TrainConfig, checkpoint: Path) -> Crnn:
    """A CRNN trained on the same batches and schedule as the reader; the one in `checkpoint` if it
    is there.
    """
    if checkpoint.exists():
        crnn = Crnn()
        crnn.load_state_dict(torch.load(checkpoint, weights_only=True))
        return crnn
    torch.manual_seed(config.seed)
    rng = Generator().manual_seed(config.seed)
    crnn = Crnn()
    optimizer = Adam(crnn.parameters(), config.learning_rate)
    epochs = config.epochs_of(len(images))
    steps = epochs * -(-len(images) // config.batch)
    schedule = OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    for _ in tqdm(range(epochs), desc="CRNN"):
        crnn.train()
        for pixels, labels in shuffled(images, config, rng):
            with torch.autocast("cpu", torch.bfloat16):
                found = crnn(pixels)
            lengths = torch.full((len(labels),), found.shape[0]), torch.full((len(labels),), DIGITS)
            loss = ctc_loss(found, labels, *lengths, blank=BLANK)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"CTC loss {loss.item()}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(crnn.state_dict(), checkpoint)
    return crnn


def exact_match(logits: np.ndarray, images: Images) -> float:
    return float((logits.argmax(-1) == images.labels).all(1).mean())


def first(images: Images, count: int) -> Images:
    """`count` images, the same for every variant. ValueError if there are fewer."""
    if count > len(images):
        raise ValueError(f"{len(images)} images, {count} are needed")
    return images.subset(np.random.default_rng(0).permutation(len(images))[:count])


def scored(checkpoint: Path, test: Images) -> float:
    return exact_match(logits_of(load_reader(checkpoint), test.pixels).numpy(), test)


def trained(run: Path, images: Images, config: TrainConfig, start: Path | None = None) -> Path:
    """The checkpoint of a run, which is made if it is not there."""
    best = run / "best.pt"
    if not best.exists():
        train(images, config, run, start=load_reader(start) if start else None)
    return best


def choices(images: Images, test: Images, config: TrainConfig, out: Path) -> dict[str, float]:
    """Variant -> exact match on the test images, all trained with config.seed."""

    def run(name: str) -> Path:
        return out / f"{name}-{config.seed}"

    published = replace(config, columns=0)
    found = {
        "base": scored(trained(run("base"), images, config), test),
        "published heads": scored(trained(run("published"), images, published), test),
        "published heads without position embeddings": scored(
            trained(run("no-position"), images, replace(published, position=0)), test
        ),
        "mixup 0.2": scored(trained(run("mixup"), images, replace(config, mixup=0.2)), test),
        "CRNN with CTC": ctc_exact_match(train_crnn(images, config, run("crnn") / "last.pt"), test),
    }
    for size in SIZES:
        if size < len(images):
            # as many steps as the whole set gets, so that only the variety differs
            epochs = round(config.epochs_of(len(images)) * len(images) / size)
            few = first(images, size)
            longer = replace(config, epochs=epochs)
            ours = trained(run(f"size-{size}"), few, longer)
            published_heads = trained(run(f"published-{size}"), few, replace(longer, columns=0))
            found[f"{size} images"] = scored(ours, test)
            found[f"published heads, {size} images"] = scored(published_heads, test)
    return found


def starts(
    start: Path, images: Images, test: Images, config: TrainConfig, out: Path
) -> dict[str, float]:
    """Exact match of the checkpoint `start` as it is, and after training on ever more images."""
    found = {"no image": scored(start, test)}
    for size in SIZES:
        if size <= len(images):
            run = out / f"start-{size}-{config.seed}"
            found[f"{size} images"] = scored(trained(run, first(images, size), config, start), test)
    return found


def ablation(
    images: Images,
    test: Images,
    seeds: Sequence[int],
    config: TrainConfig,
    out: Path,
    measure: Callable[[Images, Images, TrainConfig, Path], dict[str, float]] = choices,
) -> dict[str, list[float]]:
    """Variant -> exact match of each seed; written to `out` after every seed."""
    table: dict[str, list[float]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name, value in measure(images, test, replace(config, seed=seed), out).items():
            table.setdefault(name, []).append(value)
        (out / "ablation.json").write_text(json.dumps(table, indent=2) + "\n")
    return table


def draw(table: dict[str, list[float]], path: Path) -> None:
    """Each seed's share of images read wrong as a dot, a row for each variant, as a PNG."""
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(table) + 1), layout="constrained")
    for row, values in enumerate(table.values()):
        errors = [100 * (1 - value) for value in values]
        axes.plot(errors, [row] * len(errors), "o", color="#1f77b4", alpha=0.7)
        axes.plot(np.mean(errors), row, "|", color="black", markersize=14)
    axes.set_yticks(range(len(table)), list(table))
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set(xlabel="images read wrong, % (dots: seeds, bar: mean)", xlim=(-0.01, 110))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="labelled folder to train on")
    parser.add_argument("--test", type=Path, required=True, help="labelled folder to score on")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--learning-rate", type=float, default=TrainConfig.learning_rate)
    parser.add_argument(
        "--start", type=Path, help="measure what this checkpoint is worth as a start, alone"
    )
    args = parser.parse_args()
    config = TrainConfig(epochs=args.epochs, learning_rate=args.learning_rate, folds=0)
    measure = partial(starts, args.start) if args.start else choices
    table = ablation(load(args.images), load(args.test), args.seeds, config, args.out, measure)
    draw(table, args.out / "ablation.png")
    for name, values in table.items():
        low, high = min(values), max(values)
        print(f"{name:30} {np.mean(values):.4f}  ({low:.4f} to {high:.4f}, {len(values)} seeds)")


if __name__ == "__main__":
    main()
