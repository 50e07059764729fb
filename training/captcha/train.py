"""Trains a portal's CAPTCHA reader on folders of labelled images.

    python -m training.captcha.train --images DIR [DIR ...] --start START --out RUN

DIR has images named after their text (482913.png or 482913_17.png), or any names and labels.csv.
Several readers are trained from START, each without a part of the images (repeated k-fold
cross-validation). The mean of their weights is the reader that is served. Each image is read by the
mean of those that did not see it: export calibrates on these readings, so that no image has to be
kept from training. RUN gets best.pt, held_out.npz (the readings), last.pt (to resume), config.json,
data.json (what it was trained on), history.json and curves.png.

--unlabelled adds images without labels: each reader labels those that it is sure of, and is trained
further on both.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.swa_utils import update_bn
from tqdm import tqdm

from training.captcha.augment import SCREENSHOT, augmented
from training.captcha.images import SUFFIXES, Images, joined, load, read_grey
from training.captcha.model import CaptchaReader, ReaderConfig, mean_weights, restructured, save
from training.captcha.model import load as load_reader

matplotlib.use("Agg")
from matplotlib import pyplot

SHOWN = (8000, 12)  # images that a reader is shown: these, and so many for each that there is
HELD_OUT = "held_out.npz"  # each image's label, and its logits by readers that did not see it
MIN_IMAGES = 20  # in each fold
NORMALISED = 1000  # images that batch statistics are taken from, at most
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
    folds: int = 3  # 0: one reader of all images, and export needs others to calibrate on
    repeats: int = 2  # ways to part the images into folds
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


def held_out_by(count: int, config: TrainConfig) -> np.ndarray:
    """(readers, count) bool: the images that each reader does not see; one sees all without folds.

    ValueError if a fold has fewer than MIN_IMAGES.
    """
    folds = config.folds
    if not folds:
        return np.zeros((1, count), bool)
    if count < folds * MIN_IMAGES:
        raise ValueError(f"{count} images: too few for {folds} folds, {folds * MIN_IMAGES} needed")
    orders = [
        np.random.default_rng(config.seed + repeat).permutation(count)
        for repeat in range(config.repeats)
    ]
    parts = [part for order in orders for part in np.array_split(order, folds)]
    return np.stack([np.isin(np.arange(count), part) for part in parts])


def averaged(readers: Sequence[CaptchaReader], pixels: np.ndarray) -> CaptchaReader:
    """A reader with the mean of the readers' weights (Wortsman et al., arXiv 2203.05482), and batch
    statistics of the pixels (N, 50, 200). The readers must have begun with the same weights.
    """
    mean = deepcopy(readers[0])
    mean.load_state_dict(mean_weights([reader.state_dict() for reader in readers]))
    some = torch.from_numpy(pixels[:: -(-len(pixels) // NORMALISED)])
    update_bn(some.split(128), mean)
    return mean


def read_unseen(
    readers: Sequence[CaptchaReader], unseen: np.ndarray, images: Images
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, places, signs) and labels (N, places) of all images, each read by the mean of the
    readers that did not see it. unseen (readers, N) bool.
    """
    logits, rows = [], []
    for by in np.unique(unseen, axis=1).T:  # (readers,) bool
        rows.append(np.flatnonzero((unseen == by[:, None]).all(0)))
        mean = averaged([readers[index] for index in np.flatnonzero(by)], images.pixels)
        logits.append(logits_of(mean, images.pixels[rows[-1]]).numpy())
    return np.concatenate(logits), images.labels[np.concatenate(rows)]


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
    """Trains the readers, and their mean; returns the path of its checkpoint.

    Weights begin as those of `start`, else random. `unlabelled` are pixels (N, 50, 200).
    `resume` goes on after the last finished reader in `out`; all else must be as it was.
    Raises FileExistsError if `out` has a run and `resume` is not set, ValueError for folds without
    `start`, or with fewer images than they need.
    """
    last = out / "last.pt"
    if last.exists() and not resume:
        raise FileExistsError(f"{last}: a run is there already; resume it or choose another folder")
    if config.folds and start is None:
        raise ValueError(
            "folds need --start: readers that begin at random have no mean (or --folds 0)"
        )
    unseen = held_out_by(len(images), config)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    (out / "data.json").write_text(json.dumps(images.source, indent=2) + "\n")
    sees = [images.subset(np.flatnonzero(~row)) for row in unseen]
    readers = [begun(images, config, start) for _ in sees]
    done, history = 0, list[dict[str, float]]()
    if resume and last.exists():
        saved = torch.load(last, weights_only=True)
        done, history = len(saved["readers"]), saved["history"]
        for reader, state in zip(readers, saved["readers"], strict=False):
            reader.load_state_dict(state)

    rounds = 1 if unlabelled is None else 2
    shown = [rounds * config.epochs_of(len(part)) * len(part) for part in sees]
    bar = tqdm(initial=sum(shown[:done]), total=sum(shown), unit="image", unit_scale=True)
    for index in range(done, len(readers)):
        rng = Generator().manual_seed(config.seed + index)
        seen = sees[index]
        for round_ in range(rounds):
            if round_ and unlabelled is not None:
                seen = sure_answers(readers[index], unlabelled, seen, config.seed)
            # As many images in every round, so that more of them do not take longer.
            epochs = max(1, round(shown[index] / rounds / len(seen)))
            for loss in fit(readers[index], seen, config, epochs, rng):
                history.append({"reader": index, "images": len(seen), "train_loss": loss})
                bar.update(len(seen))
                bar.set_postfix_str(f"reader {index + 1} of {len(readers)}, loss {loss:.4f}")
        states = [reader.state_dict() for reader in readers[: index + 1]]
        torch.save({"readers": states, "history": history}, last)
    bar.close()
    served = averaged(readers, images.pixels) if len(readers) > 1 else readers[0]
    save(served, out / "best.pt")
    (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    draw_curves(history, out / "curves.png")
    if config.folds:
        logits, labels = read_unseen(readers, unseen, images)
        np.savez(out / HELD_OUT, logits=logits, labels=labels)
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
    parser.add_argument(
        "--resume", action="store_true", help="go on after the last finished reader"
    )
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
    try:
        print(train(images, config, args.out, args.resume, start, unlabelled))
    except (ValueError, FileExistsError) as error:
        parser.exit(1, f"training.captcha.train: {error}\n")


if __name__ == "__main__":
    main()
