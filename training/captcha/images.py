"""Labelled CAPTCHA images from a folder: file name = label, or a labels.csv."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

WIDTH, HEIGHT = 200, 50  # px
DIGITS = 6
GENERATED = "generated.json"  # style and seed, beside images of our own generator
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class Images:
    """N labelled images, in the order of their names."""

    pixels: np.ndarray  # (N, 50, 200) uint8, grey
    labels: np.ndarray  # (N, 6) int64, digits from left to right
    names: tuple[str, ...]
    source: dict = field(default_factory=dict)  # folder, and what generated it, for model cards

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, rows: np.ndarray) -> "Images":
        """The images at these indices, in their order."""
        names = tuple(self.names[row] for row in rows)
        return Images(self.pixels[rows], self.labels[rows], names, self.source)


def checked_label(text: str, source: str) -> str:
    """`text` if it is six digits. ValueError naming `source` otherwise."""
    if not re.fullmatch(rf"[0-9]{{{DIGITS}}}", text):
        raise ValueError(f"{source}: label {text!r} ({len(text)} characters), expected 6 digits")
    return text


def named_labels(folder: Path) -> dict[str, str]:
    """File name -> label, by name: "482913.png" or "482913_17.png" is 482913.

    A labels.csv in the folder (rows of file name, label; a "file,label" header may come first)
    replaces the names. ValueError for a label that is not six digits or a file not there.
    """
    table = folder / "labels.csv"
    if not table.exists():
        files = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        return {name: checked_label(Path(name).stem.split("_")[0], name) for name in files}
    labels = {}
    with table.open(newline="") as rows:
        for number, row in enumerate(csv.reader(rows), 1):
            if not row or (number == 1 and row == ["file", "label"]):
                continue
            source = f"{table}, line {number}"
            if len(row) != 2:
                raise ValueError(f"{source}: {len(row)} columns, expected 2: file, label")
            if not (folder / row[0]).is_file():
                raise ValueError(f"{source}: no file {row[0]!r} in {folder}")
            labels[row[0]] = checked_label(row[1], source)
    return labels


def read_grey(path: Path) -> np.ndarray:
    """(50, 200) uint8 grey, resized as the served captcha_preprocess does. ValueError if no image.

    Transparent parts lie on white.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(path))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        grey = np.asarray(image.convert("L"))
    except OSError as error:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, no readable image") from error
    shrinks = image.width > WIDTH or image.height > HEIGHT
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (WIDTH, HEIGHT), interpolation=how)


def load(folder: Path) -> Images:
    """Every labelled image of a folder. ValueError if one is wrong or there is none."""
    labels = named_labels(folder)
    if not labels:
        raise ValueError(f"{folder}: no images ({' '.join(sorted(SUFFIXES))}) and no labels.csv")
    pixels = [read_grey(folder / name) for name in tqdm(labels, desc=str(folder), unit="image")]
    digits = [[int(digit) for digit in label] for label in labels.values()]
    generated = folder / GENERATED
    source = json.loads(generated.read_text()) if generated.exists() else {}
    source = {"folder": folder.name, "images": len(labels)} | source
    return Images(np.stack(pixels), np.array(digits, np.int64), tuple(labels), source)


def joined(parts: Sequence[Images]) -> Images:
    """All images of several folders as one set."""
    if len(parts) == 1:
        return parts[0]
    return Images(
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(name for part in parts for name in part.names),
        {"folders": [part.source for part in parts]},
    )


def split(images: Images, held_out: float, seed: int) -> tuple[Images, Images]:
    """Training and held-out images, shuffled by `seed`; `held_out` is a share of all in (0, 1)."""
    order = np.random.default_rng(seed).permutation(len(images))
    cut = max(1, round(len(images) * held_out))
    if cut >= len(images):
        raise ValueError(f"{len(images)} images: too few to hold out {held_out:.0%} of them")
    return images.subset(order[cut:]), images.subset(order[:cut])
