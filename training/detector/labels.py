"""Labelled pages on disk: the YOLO layout of generated pages, labels.json of real ones."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("signature", "stamp")
NOT_INK = ("printed_seal", "sticker_seal", "digital_overlay")  # kinds of box in labels.json
STAMPS = Path(__file__).with_name("real_stamps.json")


@dataclass(frozen=True)
class Labelled:
    """One page file and what is on it, in its pixels."""

    path: Path
    source: str  # the document it comes from
    size: tuple[int, int]  # width, height
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32
    ignore: np.ndarray  # (m, 4) float32: neither hit nor false alarm


def read_real(folder: Path, ink_only: bool = False) -> list[Labelled]:
    """The pages of `folder`/labels.json, stamps of `real_stamps.json` beside this file included:
    a publisher that boxed signatures only left them out. `ink_only` ignores boxes of NOT_INK.

    FileNotFoundError without labels.json; ValueError names a class that is not in CLASSES.
    """
    stamped = json.loads(STAMPS.read_text())
    pages = []
    for name, page in sorted(json.loads((folder / "labels.json").read_text()).items()):
        boxes, ignore = [], list(page.get("ignore", []))
        for box in page["boxes"]:
            if box["class"] not in CLASSES:
                raise ValueError(
                    f"{folder}/labels.json: {name} has class {box['class']!r}, known are {CLASSES}"
                )
            if ink_only and box.get("kind") in NOT_INK:
                ignore.append(box)
            else:
                boxes.append((CLASSES.index(box["class"]), box["xyxy"]))
        boxes += [(CLASSES.index("stamp"), xyxy) for xyxy in stamped.get(name, [])]
        pages.append(
            Labelled(
                path=folder / "images" / name,
                source=page.get("source", name),
                size=(page["width"], page["height"]),
                class_ids=np.array([class_id for class_id, _ in boxes], np.int64),
                xyxy=_rows([xyxy for _, xyxy in boxes]),
                ignore=_rows([box["xyxy"] if isinstance(box, dict) else box for box in ignore]),
            )
        )
    return pages


def read_yolo(folder: Path, split: str) -> list[Labelled]:
    """The pages of `folder`/images/SPLIT with `folder`/labels/SPLIT.

    FileNotFoundError if there are none.
    """
    pages = []
    for path in sorted((folder / "images" / split).glob("*.jpg")):
        lines = (folder / "labels" / split / f"{path.stem}.txt").read_text().splitlines()
        with Image.open(path) as image:
            size = image.size
        rows = np.array([line.split() for line in lines], np.float64).reshape(-1, 5)
        centre, half = rows[:, 1:3] * size, rows[:, 3:] * size / 2
        pages.append(
            Labelled(
                path=path,
                source=path.stem,
                size=size,
                class_ids=rows[:, 0].astype(np.int64),
                xyxy=_rows(np.hstack([centre - half, centre + half])),
                ignore=_rows([]),
            )
        )
    if not pages:
        raise FileNotFoundError(f"{folder}: no images/{split}/*.jpg")
    return pages


def yolo_lines(class_ids: np.ndarray, xyxy: np.ndarray, size: tuple[int, int]) -> str:
    """One line a box: class, then centre x, centre y, width, height as shares of `size` (w, h)."""
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2 / size
    sizes = (xyxy[:, 2:] - xyxy[:, :2]) / size
    rows = zip(class_ids, centres, sizes, strict=True)
    return "".join(f"{i} {c[0]:.6f} {c[1]:.6f} {s[0]:.6f} {s[1]:.6f}\n" for i, c, s in rows)


def _rows(boxes: list | np.ndarray) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)
