"""Trains the weights that the reader of every portal starts from.

    python -m training.captcha.pretrain --out RUN

Images are drawn as they are needed and shown for a few epochs: most of training/captcha/wide.py,
of 4 to 8 digits or letters, the rest of the styles of training/captcha/generate.py. No image of
another maker's generator is among them. RUN gets start.pt, digits.pt (the same weights as a reader
of six digits), last.pt (to resume), config.json and history.json.
With --resume and more --epochs the learning rate rises and falls once more. The weights at the end
of each such cycle are averaged (Izmailov et al., arXiv 1803.05407): start.pt is their mean.
Under torchrun (gloo) each process draws and shows images of its own, and gradients are averaged.
"""

import argparse
import json
import os
from collections import deque
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor, distributed, nn
from torch.nn.functional import cross_entropy, ctc_loss
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from training.captcha import generate, wide
from training.captcha.augment import augmented
from training.captcha.images import DIGITS, HEIGHT, MOST_PLACES, NUMERALS, WIDTH
from training.captcha.model import CaptchaReader, ReaderConfig, mean_weights, restructured, save

ABSENT = -1  # the label of a place to the right of a shorter text
STRENGTH = (5, 0.08, 0.15)  # degrees, shares of `augmented`
VALIDATION_SEED = 2**31  # no epoch draws with it


@dataclass(frozen=True)
class PretrainConfig:
    """A run's hyper-parameters."""

    backbone: str = "resnet10t"
    epochs: int = 24
    fresh: int = 12_000  # images that each epoch draws, all processes together
    shown: int = 3  # epochs that see an image
    styles: float = 0.3  # share of images in the styles of generate.py
    batch: int = 96  # of all processes together
    learning_rate: float = 1.5e-3
    warm_up: int = 300  # steps
    decay: int = 6  # epochs at the end in which the learning rate falls to nothing
    weight_decay: float = 1e-2
    tested: int = 1000  # other images of either kind that each epoch is scored on
    ctc: float = 0.3  # weight of CTC (Graves et al., 2006) over the columns, in training alone
    seed: int = 0


def drawn(count: int, styles: float, seed: int, others: bool = True) -> tuple[np.ndarray, Tensor]:
    """`count` images: pixels (N, 50, 200) uint8, labels (N, 8), places of wide.ALPHABET or ABSENT.

    With `others` not all are of six digits.
    """
    pixels = np.empty((count, HEIGHT, WIDTH), np.uint8)
    labels = torch.full((count, MOST_PLACES), ABSENT)
    for index in range(count):
        if index < round(styles * count):
            rgb, text = generate.sample("all", seed, index)
            pixels[index] = np.asarray(Image.fromarray(rgb).convert("L"))
        else:
            pixels[index], text = wide.sample(seed, index, others)
        labels[index, : len(text)] = torch.tensor([wide.ALPHABET.index(sign) for sign in text])
    return pixels, labels


def look_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the places that have a sign: logits (B, 8, signs), labels (B, 8)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=ABSENT)


def column_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """CTC of columns (B, w, signs + 1), the last of which is the blank, and labels (B, 8)."""
    odds = scores.float().log_softmax(-1).transpose(0, 1)
    widths = torch.full((len(labels),), len(odds))
    lengths = (labels != ABSENT).sum(1)
    blank = scores.shape[-1] - 1
    return ctc_loss(odds, labels.clamp(min=0), widths, lengths, blank, zero_infinity=True)


def rate(step: int, config: PretrainConfig) -> float:
    """The share of the learning rate that holds at a step."""
    steps = config.fresh * config.shown // config.batch  # of one epoch
    left = config.epochs * steps - step
    return min(1.0, (step + 1) / config.warm_up, max(0.0, left / (config.decay * steps)))


@torch.no_grad()
def average_gradients(module: nn.Module, processes: int) -> None:
    """Lets every process go the same step."""
    gradients = [weights.grad for weights in module.parameters() if weights.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    parts = (flat / processes).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def read_right(reader: CaptchaReader, pixels: np.ndarray, labels: Tensor) -> float:
    """The share of texts of six digits that are read right."""
    reader.eval()
    parts = [
        reader(torch.from_numpy(part)) for part in np.array_split(pixels, -(-len(pixels) // 100))
    ]
    digits = torch.cat(parts)[:, :6, :10].argmax(-1)
    return (digits == labels[:, :6]).all(1).float().mean().item()


def pretrain(config: PretrainConfig, out: Path, resume: bool = False) -> Path:
    """Trains for `epochs`; returns the path of the weights, those of the last epoch until a cycle
    has ended, then the mean of all ends.

    `resume` goes on after the last finished epoch in `out`, until the `epochs` of this call.
    Raises FloatingPointError on the first non-finite loss, before its update.
    """
    processes, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if processes > 1:
        distributed.init_process_group("gloo")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)  # all begin with the same weights
    structure = ReaderConfig(config.backbone, places=MOST_PLACES, alphabet=wide.ALPHABET)
    reader = CaptchaReader(structure)
    columns_read = nn.Linear(structure.columns, len(wide.ALPHABET) + 1)
    both = nn.ModuleList([reader, columns_read])
    both.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        both.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = LambdaLR(optimizer, lambda step: rate(step, config))
    history: list[dict[str, float]] = []
    ends: list[dict[str, Tensor]] = []  # the reader's weights at the end of each cycle
    last = out / "last.pt"
    if resume:
        saved = torch.load(last, weights_only=True)
        both.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        history, ends = saved["history"], saved["ends"]

    tests = {
        "wide": drawn(config.tested, 0, VALIDATION_SEED, others=False),
        "styles": drawn(config.tested, 1, VALIDATION_SEED),
    }

    def draw(epoch: int) -> tuple[np.ndarray, Tensor]:
        seed = config.seed + epoch * processes + rank
        return drawn(config.fresh // processes, config.styles, seed)

    seen = range(max(0, len(history) - config.shown + 1), len(history))
    pool = deque((draw(epoch) for epoch in seen), maxlen=config.shown)
    epochs = range(len(history), config.epochs)
    for epoch in (bar := tqdm(epochs, initial=len(history), total=config.epochs, disable=rank > 0)):
        pool.append(draw(epoch))
        pixels = np.concatenate([part for part, _ in pool])
        labels = torch.cat([part for _, part in pool])
        rng = Generator().manual_seed(config.seed + epoch * processes + rank)
        both.train()
        total = 0.0
        steps = len(pixels) * processes // config.batch
        batches = torch.randperm(len(pixels), generator=rng).split(config.batch // processes)
        for rows in batches[:steps]:
            batch = augmented(torch.from_numpy(pixels[rows.numpy()]), *STRENGTH, rng)
            with torch.autocast("cpu", torch.bfloat16):
                columns, weights = reader.look(batch)
                logits = reader.read(weights.transpose(1, 2) @ columns)
                scores = columns_read(columns)
            loss = look_loss(logits, labels[rows]) + config.ctc * column_loss(scores, labels[rows])
            if not torch.isfinite(loss):
                raise FloatingPointError(f"epoch {epoch}: loss {loss.item()}")
            optimizer.zero_grad()
            loss.backward()
            if processes > 1:
                average_gradients(both, processes)
            nn.utils.clip_grad_norm_(both.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        history.append({"loss": total / steps})
        if rank > 0:
            continue
        history[-1] |= {name: read_right(reader, *test) for name, test in tests.items()}
        bar.set_postfix({name: f"{value:.3f}" for name, value in history[-1].items()})
        if epoch + 1 == config.epochs:
            ends.append(deepcopy(reader.state_dict()))
        state = {"weights": both.state_dict(), "optimizer": optimizer.state_dict(), "ends": ends}
        torch.save(state | {"schedule": schedule.state_dict(), "history": history}, last)
        (out / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
        (out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
        start = deepcopy(reader)
        start.load_state_dict(mean_weights(ends or [reader.state_dict()]))
        save(start, out / "start.pt")
        save(restructured(start, DIGITS, NUMERALS), out / "digits.pt")
    return out / "start.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on after the last epoch in --out")
    for field in fields(PretrainConfig):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    args = parser.parse_args()
    names = [field.name for field in fields(PretrainConfig)]
    config = replace(PretrainConfig(), **{name: getattr(args, name) for name in names})
    print(pretrain(config, args.out, args.resume))


if __name__ == "__main__":
    main()
