"""Labelled CAPTCHA images from a folder: file name = label, or a labels.csv."""

import csv
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from inprocess.steps import captcha

WIDTH, HEIGHT = 200, 50  # px
DIGITS = 6  # places of the CAPTCHAs of our own generator
NUMERALS = "0123456789"
LEAST_PLACES, MOST_PLACES = 4, 8
RECORD = ".reading.json"  # of what `countersign read --log` keeps, beside each image
GENERATED = "generated.json"  # style and seed, beside images of our own generator
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class Images:
    """N labelled images of one portal's kind, in the order of their names."""

    pixels: np.ndarray  # (N, 50, 200) uint8, grey
    labels: np.ndarray  # (N, places) int64, characters from left to right, by place in `alphabet`
    names: tuple[str, ...]
    source: dict = field(default_factory=dict)  # folder, and what generated it, for model cards
    alphabet: str = NUMERALS

    def __len__(self) -> int:
        return len(self.names)

    @property
    def places(self) -> int:
        """Characters of each label."""
        return self.labels.shape[1]

    @property
    def texts(self) -> list[str]:
        return ["".join(self.alphabet[index] for index in row) for row in self.labels]

    def subset(self, rows: np.ndarray) -> "Images":
        """The images at these indices, in their order."""
        names = tuple(self.names[row] for row in rows)
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows], names=names)

    def spelt(self, alphabet: str) -> "Images":
        """The images with labels of another alphabet. ValueError for a label that it cannot spell.

        A folder of few images may lack some of the characters that a reader knows.
        """
        if alphabet == self.alphabet:
            return self
        labels = indices(self.texts, alphabet, self.names)
        return replace(self, labels=labels, alphabet=alphabet)


def checked_label(text: str, source: str) -> str:
    """`text` if it is 4 to 8 visible characters. ValueError naming `source` otherwise."""
    if not LEAST_PLACES <= len(text) <= MOST_PLACES:
        raise ValueError(
            f"{source}: label {text!r} ({len(text)} characters), "
            f"expected {LEAST_PLACES} to {MOST_PLACES}"
        )
    if not text.isprintable() or " " in text or unicodedata.normalize("NFKC", text) != text:
        raise ValueError(f"{source}: label {text!r}, expected visible characters in normal form")
    return text


def alphabet_of(texts: Iterable[str]) -> str:
    """The characters of the labels, sorted; all ten digits if there are no others."""
    seen = set().union(*texts)
    return NUMERALS if seen <= set(NUMERALS) else "".join(sorted(seen))


def indices(texts: Sequence[str], alphabet: str, names: Sequence[str]) -> np.ndarray:
    """(N, places) int64, each character's place in the alphabet.

    ValueError naming the image whose label has another length, or a character that is not in it.
    """
    for text, name in zip(texts, names, strict=True):
        if len(text) != len(texts[0]):
            raise ValueError(
                f"{name}: label {text!r} has {len(text)} characters, "
                f"{names[0]}'s {texts[0]!r} has {len(texts[0])}: a portal's are of one length"
            )
        if strange := sorted(set(text) - set(alphabet)):
            raise ValueError(f"{name}: label {text!r}, {strange[0]!r} is none of {alphabet}")
    place = {character: index for index, character in enumerate(alphabet)}
    return np.array([[place[character] for character in text] for text in texts], np.int64)


def named_labels(folder: Path) -> dict[str, str]:
    """File name -> label, by name: "482913.png" or "482913_17.png" is 482913.

    A labels.csv in the folder (rows of file name, label; a "file,label" header may come first)
    replaces the names, and so do the records of `countersign read --log`: an answer that its
    outcome says is right is a label. ValueError for what is no label or a file not there.
    """
    table = folder / "labels.csv"
    if not table.exists() and (records := sorted(folder.glob(f"*{RECORD}"))):
        return logged_labels(records)
    if not table.exists():
        files = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        return {name: checked_label(Path(name).stem.split("_")[0], name) for name in files}
    labels = {}
    with table.open(newline="", encoding="utf-8") as rows:
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


def logged_labels(records: Sequence[Path]) -> dict[str, str]:
    """File name -> label of those records whose outcome gives one. ValueError if none does."""
    labels = {}
    for record in records:
        said = json.loads(record.read_text(encoding="utf-8"))
        if "label" in said:
            labels[said["file"]] = checked_label(said["label"], str(record))
    if not labels:
        raise ValueError(
            f"{records[0].parent}: {len(records)} readings, none has an outcome that is a label: "
            "countersign outcome right, or wrong --text"
        )
    return labels


def read_grey(path: Path) -> np.ndarray:
    """(50, 200) uint8 grey, as the served captcha_preprocess makes it of the file.

    ValueError, in its words, for what it would refuse.
    """
    try:
        return captcha.pixels_of(path.read_bytes(), WIDTH, HEIGHT)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load(folder: Path) -> Images:
    """Every labelled image of a folder. ValueError if one is wrong or there is none."""
    labels = named_labels(folder)
    if not labels:
        raise ValueError(f"{folder}: no images ({' '.join(sorted(SUFFIXES))}) and no labels.csv")
    names, alphabet = tuple(labels), alphabet_of(labels.values())
    rows = indices(list(labels.values()), alphabet, names)
    pixels = [read_grey(folder / name) for name in tqdm(labels, desc=str(folder), unit="image")]
    generated = folder / GENERATED
    source = json.loads(generated.read_text()) if generated.exists() else {}
    source = {"folder": folder.name, "images": len(labels)} | source
    return Images(np.stack(pixels), rows, names, source, alphabet)


def joined(parts: Sequence[Images]) -> Images:
    """All images of several folders as one set. ValueError if their labels differ in length."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(name for part in parts for name in part.names)
    texts = [text for part in parts for text in part.texts]
    alphabet = alphabet_of(texts)
    return Images(
        np.concatenate([part.pixels for part in parts]),
        indices(texts, alphabet, names),
        names,
        {"folders": [part.source for part in parts]},
        alphabet,
    )
