"""Trains the judge of a reader, so that what does not show six digits is read without certainty.

    python -m training.captcha.judge --reader RUN/best.pt --out RUN/judged.pt

The reader stays as it is, so its digits do too. The judge learns from generated CAPTCHAs of six
digits and from the pictures of training/captcha/others.py, each as it is and as a screenshot may
change it. Half of the CAPTCHAs have a style each of its own (training/captcha/wide.py): of these,
those that the reader reads wrong count as none. --images adds a portal's own, so that they count as
CAPTCHAs.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from training.captcha import wide
from training.captcha.augment import SCREENSHOT, augmented
from training.captcha.generate import STYLES, sample
from training.captcha.images import DIGITS, NUMERALS, indices
from training.captcha.images import load as load_images
from training.captcha.model import CaptchaReader, load, save
from training.captcha.others import KINDS, other

CHANNELS = 48
BATCH = 128
LEARNING_RATE = 3e-3  # the peak of one cycle
PASSED = 0.998  # of CAPTCHAs that it did not learn from: `least` is so low that they pass


def grey(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def captchas(count: int, seed: int) -> np.ndarray:
    """(N, 50, 200) uint8 of all styles."""
    numbers = tqdm(range(count), "CAPTCHAs")
    return np.stack([grey(sample("all", seed, index)[0]) for index in numbers])


def wide_captchas(reader: CaptchaReader, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 50, 200) uint8, each in a style of its own, and which of them the reader reads right."""
    drawn = [wide.sample(seed, index) for index in tqdm(range(count), "wide")]
    pixels = np.stack([image for image, _ in drawn])
    labels = indices([text for _, text in drawn], reader.config.alphabet, [""] * count)
    with torch.no_grad():
        logits = torch.cat([reader(part) for part in torch.from_numpy(pixels).split(BATCH)])
    return pixels, (logits.argmax(-1).numpy() == labels).all(1)


def wide_other(seed: int, index: int) -> np.ndarray:
    """(50, 200) uint8 in a style of its own, of another length or with letters."""
    rng = np.random.default_rng([20112, seed, index])
    while len(text := wide.text_of(rng, True)) == DIGITS and text.isdigit():
        pass
    return wide.draw(text, rng)


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """CAPTCHAs, then half as many others again: pixels (N, 50, 200), and which are CAPTCHAs."""
    pixels = list(captchas(count, seed))
    kinds = [(kind, style) for style in STYLES for kind in KINDS]
    for index in tqdm(range(count * 3 // 2), "others"):
        pixels.append(grey(other(*kinds[index % len(kinds)], seed, index)))
    return np.stack(pixels), np.arange(len(pixels)) < count


def wide_pictures(reader: CaptchaReader, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `pictures`, of wide.py."""
    pixels, right = wide_captchas(reader, count, seed)
    others = np.stack([wide_other(seed, index) for index in tqdm(range(count // 2), "wide others")])
    return np.concatenate([pixels, others]), np.append(right, np.zeros(len(others), bool))


@torch.no_grad()
def looks(reader: CaptchaReader, pixels: np.ndarray, rng: Generator) -> tuple[Tensor, Tensor]:
    """Float16 columns and weights of the pixels, then of a changed view of each."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for changed in (False, True):
        for start in tqdm(range(0, len(pixels), BATCH), "changed" if changed else "looks"):
            batch = torch.from_numpy(pixels[start : start + BATCH])
            batch = augmented(batch, *SCREENSHOT, rng).round() if changed else batch
            for parts, part in zip(found, reader.look(batch), strict=True):
                parts.append(part.half())
    return torch.cat(found[0]), torch.cat(found[1])


def train(
    reader: CaptchaReader, pixels: np.ndarray, is_captcha: np.ndarray, epochs: int, seed: int = 0
) -> CaptchaReader:
    """The reader with a judge; pixels (N, 50, 200) uint8, is_captcha (N,) bool."""
    torch.manual_seed(seed)
    reader.judge = None  # one that is there is not gone on with
    judged = CaptchaReader(replace(reader.config, judge=CHANNELS))
    judged.load_state_dict(reader.state_dict(), strict=False)
    judged.eval()
    judge = judged.judge
    assert judge is not None  # it was just asked for
    columns, weights = looks(judged, pixels, Generator().manual_seed(seed))
    truth = torch.from_numpy(np.tile(is_captcha, 2)).float()
    optimizer = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=1e-3)
    batches = len(truth) // BATCH
    schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches + 1)
    for _ in (bar := tqdm(range(epochs), "epochs")):
        judge.train()
        total = 0.0
        for rows in torch.randperm(len(truth))[: batches * BATCH].view(batches, BATCH):
            found = judge(columns[rows].float(), weights[rows].float())
            loss = binary_cross_entropy_with_logits(found, truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        bar.set_postfix(loss=f"{total / batches:.4f}")
    judge.eval()
    return judged


@torch.no_grad()
def set_least(judged: CaptchaReader, pixels: np.ndarray, seed: int = 0) -> None:
    """Let PASSED of these CAPTCHAs and of their changed views pass; pixels (N, 50, 200) uint8, none
    of which the judge learnt from, as it is surer of those.
    """
    assert judged.judge is not None
    columns, weights = looks(judged, pixels, Generator().manual_seed(seed))
    parts = zip(columns.split(BATCH), weights.split(BATCH), strict=True)
    found = torch.cat([judged.judge(column.float(), weight.float()) for column, weight in parts])
    judged.judge.least.fill_(found.quantile(1 - PASSED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", type=Path, required=True, help="its checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint of both")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of CAPTCHAs")
    parser.add_argument("--count", type=int, default=4000, help="of generated CAPTCHAs of a kind")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    reader = load(args.reader)
    if (reader.config.places, reader.config.alphabet) != (DIGITS, NUMERALS):
        sys.exit(
            f"training.captcha.judge: {args.reader} reads {reader.config.places} of "
            f"{reader.config.alphabet}; a judge knows {DIGITS} digits only"
        )
    both = pictures(args.count, args.seed), wide_pictures(reader, args.count, args.seed)
    pixels, is_captcha = (np.concatenate(parts) for parts in zip(*both, strict=True))
    for folder in args.images:
        portals = load_images(folder).pixels
        pixels = np.concatenate([pixels, portals])
        is_captcha = np.concatenate([is_captcha, np.ones(len(portals), bool)])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    judged = train(reader, pixels, is_captcha, args.epochs)
    set_least(judged, captchas(max(1, args.count // 5), args.seed + 1))
    save(judged, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
