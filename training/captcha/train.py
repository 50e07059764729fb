"""Trains the CAPTCHA reader on folders of labelled images.

    python -m training.captcha.train --images DIR [DIR ...] --out RUN

DIR has images named after their digits (482913.png or 482913_17.png), or any names and labels.csv.
RUN gets best.pt (lowest held-out loss), last.pt (to resume), config.json, data.json (what it was
trained on), history.json and curves.png.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from training.captcha.augment import augmented
from training.captcha.images import Images, joined, load, split
from training.captcha.model import CaptchaReader, ReaderConfig, save
from training.captcha.model import load as load_reader

matplotlib.use("Agg")
from matplotlib import pyplot

CURVES_INTERVAL_S = 20  # drawing takes longer than an epoch of few images

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainConfig:
    """A run's hyper-parameters. eca_nfnet_l0 wants a learning_rate of 5e-4; 3e-4 was published."""

    backbone: str = ReaderConfig.backbone
    columns: int = ReaderConfig.columns
    position: int = ReaderConfig.position
    epochs: int = 24
    batch: int = 128
    learning_rate: float = 2e-3  # the peak of one cycle
    held_out: float = 0.1  # share of the images, for early stopping
    patience: int = 10  # epochs without a lower held-out loss
    rotation: float = 5  # degrees
    translation: float = 0.1  # share of each side
    perspective: float = 0.2
    mixup: float = 0  # both parameters of the beta distribution; 0 turns it off
    seed: int = 0


def digit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the six heads: logits (B, 6, 10), labels (B, 6) -> scalar, nats."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def shuffled(images: Images, config: TrainConfig, rng: Generator) -> Batches:
    """One epoch of augmented batches: pixels (B, 50, 200) float32, labels (B, 6)."""
    order = torch.randperm(len(images), generator=rng).numpy()
    for start in range(0, len(order), config.batch):
        rows = order[start : start + config.batch]
        if len(rows) == 1:  # batch normalisation needs two
            continue
        pixels = augmented(
            torch.from_numpy(images.pixels[rows]),
            config.rotation,
            config.translation,
            config.perspective,
            rng,
        )
        yield pixels, torch.from_numpy(images.labels[rows])


def mixed(
    batches: Batches, mixup: float, rng: Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    """Each image blended with another of its batch (mixup, arXiv 1710.09412).

    Yields pixels, both label sets and the first one's share, which is 1 if `mixup` is 0.
    """
    draws = np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng)))
    for pixels, labels in batches:
        share = float(draws.beta(mixup, mixup)) if mixup else 1.0
        other = torch.from_numpy(draws.permutation(len(pixels)))
        yield share * pixels + (1 - share) * pixels[other], labels, labels[other], share


def train_one_epoch(
    reader: nn.Module,
    batches: Batches,
    optimizer: Optimizer,
    schedule: LRScheduler,
    mixup: float,
    rng: Generator,
) -> float:
    """One pass over `batches`; returns the mean cross-entropy per digit, in nats.

    Raises FloatingPointError on the first non-finite loss, before its update.
    """
    reader.train()
    total, seen = 0.0, 0
    for step, (pixels, labels, others, share) in enumerate(mixed(batches, mixup, rng)):
        with torch.autocast("cpu", torch.bfloat16):
            logits = reader(pixels)  # (B, 6, 10)
        loss = share * digit_loss(logits, labels) + (1 - share) * digit_loss(logits, others)
        if not torch.isfinite(loss):
            rate = schedule.get_last_lr()[0]
            raise FloatingPointError(f"step {step}: loss {loss.item()}, learning rate {rate:.1e}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()  # one-cycle: per batch, not per epoch
        total, seen = total + loss.item() * len(pixels), seen + len(pixels)
    return total / seen


@torch.no_grad()
def logits_of(reader: nn.Module, pixels: np.ndarray, batch: int = 128) -> Tensor:
    """(N, 6, 10) float32 logits for pixels (N, 50, 200), in evaluation mode and float32."""
    reader.eval()
    parts = [
        reader(torch.from_numpy(pixels[start : start + batch]))
        for start in range(0, len(pixels), batch)
    ]
    return torch.cat(parts)


def scores(logits: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Loss in nats, and the shares of digits and of whole texts that are right."""
    truth = torch.from_numpy(labels)
    right = logits.argmax(-1) == truth  # (N, 6)
    return {
        "loss": digit_loss(logits, truth).item(),
        "digit_accuracy": right.float().mean().item(),
        "exact_match": right.all(1).float().mean().item(),
    }


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Loss and exact match by epoch, as a PNG."""
    epochs = range(1, len(history) + 1)
    figure, (losses, matches) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    losses.semilogy(epochs, [row["train_loss"] for row in history], label="training, augmented")
    losses.semilogy(epochs, [row["loss"] for row in history], label="held out")
    losses.set(xlabel="epoch", ylabel="cross-entropy per digit, nats")
    losses.legend()
    matches.plot(epochs, [row["exact_match"] for row in history], label="all six digits")
    matches.plot(epochs, [row["digit_accuracy"] for row in history], label="one digit")
    matches.set(xlabel="epoch", ylabel="share right, held out", ylim=(0, 1.02))
    matches.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def train(
    images: Images,
    config: TrainConfig,
    out: Path,
    resume: bool = False,
    start: CaptchaReader | None = None,
) -> Path:
    """Trains until `epochs` or until patience ends; returns the path of the best checkpoint.

    Weights begin as those of `start`, a reader of the same backbone, else random.
    `resume` goes on after the last finished epoch in `out`; `epochs` must stay what they were.
    Raises FileExistsError if `out` has a run and `resume` is not set.
    """
    last = out / "last.pt"
    if last.exists() and not resume:
        raise FileExistsError(f"{last}: a run is there already; resume it or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    (out / "data.json").write_text(json.dumps(images.source, indent=2) + "\n")
    training, held_out = split(images, config.held_out, config.seed)

    torch.manual_seed(config.seed)
    rng = Generator().manual_seed(config.seed)
    reader = CaptchaReader(
        ReaderConfig(config.backbone, columns=config.columns, position=config.position)
    )
    if start is not None:
        start.judge = None  # training/captcha/judge.py makes one for the new weights
        reader.load_state_dict(start.state_dict())
    # A step takes half the time; torch's types do not know the argument.
    reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(reader.parameters(), config.learning_rate)
    steps = config.epochs * -(-len(training) // config.batch)
    schedule = OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    history: list[dict[str, float]] = []
    if resume:
        saved = torch.load(last, weights_only=True)
        reader.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        rng.set_state(saved["rng"])
        history = saved["history"]

    drawn = time.monotonic()
    bar = tqdm(range(len(history), config.epochs), initial=len(history), total=config.epochs)
    for _ in bar:
        batches = shuffled(training, config, rng)
        loss = train_one_epoch(reader, batches, optimizer, schedule, config.mixup, rng)
        found = scores(logits_of(reader, held_out.pixels), held_out.labels)
        history.append({"train_loss": loss} | found)
        bar.set_postfix({name: f"{value:.4f}" for name, value in history[-1].items()})
        best = int(np.argmin([row["loss"] for row in history]))
        if best == len(history) - 1:
            save(reader, out / "best.pt")
        torch.save(
            {
                "weights": reader.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "rng": rng.get_state(),
                "history": history,
            },
            last,
        )
        (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
        if time.monotonic() - drawn > CURVES_INTERVAL_S:
            draw_curves(history, out / "curves.png")
            drawn = time.monotonic()
        if len(history) - 1 - best >= config.patience:
            break
    draw_curves(history, out / "curves.png")
    return out / "best.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="labelled folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on after the last epoch in --out")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    for field in fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    args = parser.parse_args()
    config = TrainConfig(**{field.name: getattr(args, field.name) for field in fields(TrainConfig)})
    if args.resume:  # the flags of the first call hold
        config = TrainConfig(**json.loads((args.out / "config.json").read_text()))
    images, start = joined([load(folder) for folder in args.images]), None
    if args.start:
        start = load_reader(args.start)
        data = args.start.with_name("data.json")
        before = json.loads(data.read_text()) if data.exists() else args.start.name
        images = replace(images, source=images.source | {"weights began with": before})
    print(train(images, config, args.out, args.resume, start))


if __name__ == "__main__":
    main()
