"""Trains a portal's CAPTCHA reader on folders of labelled images.

    python -m training.captcha.train --images DIR [DIR ...] --start START --out RUN

DIR has images named after their text (482913.png or 482913_17.png), or any names and labels.csv.
First `folds` readers are trained, each without a part of the images, which it reads then: export
calibrates on those readings, so that no image has to be kept from the reader that is served. It is
trained last, on all images. RUN gets best.pt, held_out.npz (the readings), last.pt (to resume),
config.json, data.json (what it was trained on), history.json and curves.png.

--unlabelled adds images without labels: each reader labels those that it is sure of, and is trained
further on both.
"""

import argparse
import json
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

from training.captcha.augment import SCREENSHOT, augmented
from training.captcha.images import SUFFIXES, Images, joined, load, read_grey
from training.captcha.model import CaptchaReader, ReaderConfig, restructured, save
from training.captcha.model import load as load_reader

matplotlib.use("Agg")
from matplotlib import pyplot

SHOWN = (8000, 12)  # images that a reader is shown: these, and so many for each that there is
HELD_OUT = "held_out.npz"  # each image's label, and its logits by the reader that never saw it
MIN_IMAGES = 20  # in each fold
WEIGHT_DECAY = 1e-2
SURE = 0.98  # confidence from which a reader's own answer counts as a label
VIEWS = 2  # changed views of an image that must be read as the image is

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainConfig:
    """A run's hyper-parameters. The first three are the start's where there is one."""

    backbone: str = ReaderConfig.backbone
    columns: int = ReaderConfig.columns
    position: int = ReaderConfig.position
    epochs: int = 0  # 0: as many as show SHOWN images
    batch: int = 32
    learning_rate: float = 3e-3  # the peak of one cycle
    folds: int = 3  # 0: nothing is held out, and export needs other images to calibrate on
    rotation: float = 5  # degrees
    translation: float = 0.03  # share of each side; more cuts digits off that fill the picture
    perspective: float = 0.1
    mixup: float = 0  # both parameters of the beta distribution; 0 turns it off
    seed: int = 0

    def epochs_of(self, images: int) -> int:
        """How often each of so many images is shown."""
        return self.epochs or -(-(SHOWN[0] + SHOWN[1] * images) // images)


def digit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the places: logits (B, places, signs), labels (B, places), nats."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def shuffled(images: Images, config: TrainConfig, rng: Generator) -> Batches:
    """One epoch of augmented batches: pixels (B, 50, 200) float32, labels (B, places)."""
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
            logits = reader(pixels)  # (B, places, signs)
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
    """(N, places, signs) float32 logits for pixels (N, 50, 200), in evaluation mode and float32."""
    reader.eval()
    parts = [
        reader(torch.from_numpy(pixels[start : start + batch]))
        for start in range(0, len(pixels), batch)
    ]
    return torch.cat(parts)


def scores(logits: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Loss in nats, and the shares of digits and of whole texts that are right."""
    truth = torch.from_numpy(labels)
    right = logits.argmax(-1) == truth  # (N, places)
    return {
        "loss": digit_loss(logits, truth).item(),
        "digit_accuracy": right.float().mean().item(),
        "exact_match": right.all(1).float().mean().item(),
    }


def sure_answers(reader: nn.Module, pixels: np.ndarray, images: Images, seed: int) -> Images:
    """`images`, and those of the pixels (N, 50, 200) that the reader is SURE of, with its answers.

    It is sure of what it reads alike, and with that confidence, in VIEWS changed views as well.
    """
    rng = Generator().manual_seed(seed)
    logits = logits_of(reader, pixels)
    answers = logits.argmax(-1)
    sure = logits.softmax(-1).amax(-1).prod(-1) >= SURE
    for _ in range(VIEWS):
        view = augmented(torch.from_numpy(pixels), *SCREENSHOT, rng).round().byte()
        seen = logits_of(reader, view.numpy())
        sure &= (seen.argmax(-1) == answers).all(-1)
        sure &= seen.softmax(-1).amax(-1).prod(-1) >= SURE
    rows = sure.numpy()
    return replace(
        images,
        pixels=np.concatenate([images.pixels, pixels[rows]]),
        labels=np.concatenate([images.labels, answers.numpy()[rows]]),
        names=images.names + ("unlabelled",) * int(rows.sum()),
    )


def parts_of(count: int, folds: int, seed: int) -> list[np.ndarray]:
    """The rows that each fold holds out: every row of `count` once, none without folds.

    ValueError if a fold has fewer than MIN_IMAGES.
    """
    if folds and count < folds * MIN_IMAGES:
        raise ValueError(f"{count} images: too few for {folds} folds, {folds * MIN_IMAGES} needed")
    return np.array_split(np.random.default_rng(seed).permutation(count), folds) if folds else []


def begun(images: Images, config: TrainConfig, start: CaptchaReader | None) -> CaptchaReader:
    """A reader of these images' texts with the weights of `start`, else random ones."""
    torch.manual_seed(config.seed)
    if start is not None:
        reader = restructured(start, images.places, images.alphabet)
    else:
        reader = CaptchaReader(
            ReaderConfig(
                config.backbone,
                columns=config.columns,
                position=config.position,
                places=images.places,
                alphabet=images.alphabet,
            )
        )
    # A step takes half the time; torch's types do not know the argument.
    reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return reader


def fit(
    reader: nn.Module, images: Images, config: TrainConfig, epochs: int, rng: Generator
) -> Iterator[float]:
    """Trains the reader for one cycle of `epochs`; yields each one's mean loss."""
    optimizer = torch.optim.AdamW(
        reader.parameters(), config.learning_rate, weight_decay=WEIGHT_DECAY
    )
    steps = epochs * -(-len(images) // config.batch)
    schedule = OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    for _ in range(epochs):
        batches = shuffled(images, config, rng)
        yield train_one_epoch(reader, batches, optimizer, schedule, config.mixup, rng)


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Training loss by epoch, a curve for each reader of the run, as a PNG."""
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for number in sorted({row["reader"] for row in history}):
        losses = [row["train_loss"] for row in history if row["reader"] == number]
        axes.semilogy(range(1, len(losses) + 1), losses, label=f"reader {number:.0f}")
    axes.set(xlabel="epoch", ylabel="cross-entropy per digit, nats, augmented")
    if history:
        axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def train(
    images: Images,
    config: TrainConfig,
    out: Path,
    resume: bool = False,
    start: CaptchaReader | None = None,
    unlabelled: np.ndarray | None = None,
) -> Path:
    """Trains the folds' readers, then one on all images; returns the path of its checkpoint.

    Weights begin as those of `start`, else random. `unlabelled` are pixels (N, 50, 200).
    `resume` goes on after the last finished reader in `out`; all else must be as it was.
    Raises FileExistsError if `out` has a run and `resume` is not set, ValueError for fewer images
    than the folds need.
    """
    last = out / "last.pt"
    if last.exists() and not resume:
        raise FileExistsError(f"{last}: a run is there already; resume it or choose another folder")
    parts = parts_of(len(images), config.folds, config.seed)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    (out / "data.json").write_text(json.dumps(images.source, indent=2) + "\n")
    everything = np.arange(len(images))
    stages = [np.setdiff1d(everything, part) for part in parts] + [everything]
    epochs = [config.epochs_of(len(rows)) for rows in stages]
    readings: list[Tensor] = []
    history: list[dict[str, float]] = []
    if resume and last.exists():
        saved = torch.load(last, weights_only=True)
        readings, history = saved["readings"], saved["history"]

    rounds = 1 if unlabelled is None else 2
    shown = [rounds * count * len(rows) for count, rows in zip(epochs, stages, strict=True)]
    bar = tqdm(initial=sum(shown[: len(readings)]), total=sum(shown), unit="image", unit_scale=True)
    for stage in range(len(readings), len(stages)):
        name = f"fold {stage + 1} of {len(parts)}" if stage < len(parts) else "all images"
        reader = begun(images, config, start)
        rng = Generator().manual_seed(config.seed + stage)
        seen = images.subset(stages[stage])
        for round_ in range(rounds):
            if round_ and unlabelled is not None:
                seen = sure_answers(reader, unlabelled, seen, config.seed)
            # As many images in every round, so that more of them do not take longer.
            cycle = max(1, round(epochs[stage] * len(stages[stage]) / len(seen)))
            for loss in fit(reader, seen, config, cycle, rng):
                history.append({"reader": stage, "images": len(seen), "train_loss": loss})
                bar.update(len(seen))
                bar.set_postfix_str(f"{name}, loss {loss:.4f}")
        if stage < len(parts):
            readings.append(logits_of(reader, images.pixels[parts[stage]]))
            torch.save({"readings": readings, "history": history}, last)
    bar.close()
    save(reader, out / "best.pt")
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    draw_curves(history, out / "curves.png")
    if parts:
        rows = np.concatenate(parts)
        np.savez(out / HELD_OUT, logits=torch.cat(readings).numpy(), labels=images.labels[rows])
    return out / "best.pt"


def load_unlabelled(folder: Path) -> np.ndarray:
    """(N, 50, 200) uint8 of every image of a folder. ValueError if there is none."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: no images ({' '.join(sorted(SUFFIXES))})")
    return np.stack([read_grey(path) for path in tqdm(files, desc=str(folder), unit="image")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="labelled folders")
    parser.add_argument("--unlabelled", type=Path, help="folder of images without labels")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the reader in work")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    for field in fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    args = parser.parse_args()
    config = TrainConfig(**{field.name: getattr(args, field.name) for field in fields(TrainConfig)})
    if args.resume:  # the flags of the first call hold
        config = TrainConfig(**json.loads((args.out / "config.json").read_text()))
    images, start = joined([load(folder) for folder in args.images]), None
    unlabelled = load_unlabelled(args.unlabelled) if args.unlabelled else None
    if unlabelled is not None:
        more = {"unlabelled": {"folder": args.unlabelled.name, "images": len(unlabelled)}}
        images = replace(images, source=images.source | more)
    if args.start:
        start = load_reader(args.start)
        data = args.start.with_name("data.json")
        before = json.loads(data.read_text()) if data.exists() else args.start.name
        images = replace(images, source=images.source | {"weights began with": before})
    print(train(images, config, args.out, args.resume, start, unlabelled))


if __name__ == "__main__":
    main()
