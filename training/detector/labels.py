"""Labelled pages on disk: YOLO folders, COCO tables, and labels.json with areas to ignore.

YOLO is read as this project's generator writes it, and as Roboflow (SPLIT/images, data.yaml) and
CVAT (images/SPLIT and data.yaml, or obj_train_data and obj.names) export it; COCO as both do.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CLASSES = ("signature", "stamp")
NOT_INK = ("printed_seal", "sticker_seal", "digital_overlay")  # kinds of box in labels.json
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
SPLIT_NAMES = {"validation": {"validation", "valid", "val", "dev"}}
UNBOXED = Path(__file__).with_name("real_unboxed.json")


@dataclass(frozen=True)
class Labelled:
    """One page file and what is on it, in its pixels."""

    path: Path
    source: str  # the document it comes from
    size: tuple[int, int]  # width, height
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32
    ignore: np.ndarray  # (m, 4) float32: neither hit nor false alarm


def read_real(folder: Path, ink_only: bool = False, split: str = "") -> list[Labelled]:
    """The pages of `folder`/labels.json, with what their publisher left unboxed (most stamps, some
    signatures) from `real_unboxed.json` beside this file. `ink_only` ignores boxes of NOT_INK,
    `split` leaves out pages that say they are of another.

    FileNotFoundError without labels.json; ValueError names a class that is not in CLASSES.
    """
    unboxed = json.loads(UNBOXED.read_text())
    pages = []
    for name, page in sorted(json.loads((folder / "labels.json").read_text()).items()):
        if split and page.get("split", split) not in SPLIT_NAMES.get(split, {split}):
            continue
        boxes, ignore = [], list(page.get("ignore", []))
        for box in page["boxes"] + unboxed.get(name, []):
            if box["class"] not in CLASSES:
                raise ValueError(
                    f"{folder}/labels.json: {name} has class {box['class']!r}, known are {CLASSES}"
                )
            if ink_only and box.get("kind") in NOT_INK:
                ignore.append(box)
            else:
                boxes.append((CLASSES.index(box["class"]), box["xyxy"]))
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


def read_pages(folder: Path, split: str = "", ink_only: bool = False) -> list[Labelled]:
    """The labelled pages of a folder in any of the three forms.

    `split` keeps the pages with that folder in their path: train, validation (or valid, val), test.
    FileNotFoundError if nothing is left; ValueError names a class that is not in CLASSES.
    """
    if (folder / "labels.json").exists():
        return read_real(folder, ink_only, split)
    tables = [table for table in sorted(folder.rglob("*.json")) if _is_coco(table)]
    if not tables:
        return read_yolo(folder, split)
    pages = [page for table in tables for page in read_coco(table, folder)]
    pages = [page for page in pages if _in_split(page.path.relative_to(folder), split)]
    if not pages:
        raise FileNotFoundError(f"{folder}: no pages of split {split!r} in its COCO tables")
    return pages


def read_yolo(folder: Path, split: str = "") -> list[Labelled]:
    """The images below `folder`, with the .txt beside each or in its `labels` folder.

    An image without one is a page with nothing on it. FileNotFoundError if there are no images or
    no labels at all.
    """
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and _in_split(path.relative_to(folder), split)
    ]
    texts = {path: _label_file(path, folder) for path in images}
    if not any(text.exists() for text in texts.values()):
        raise FileNotFoundError(f"{folder}: no images/{split} with labels in the YOLO layout")
    to_class = [_class_id(name, folder) for name in _yolo_names(folder)]
    pages = []
    for path, text in texts.items():
        lines = text.read_text().splitlines() if text.exists() else []
        with Image.open(path) as image:
            size = image.size
        rows = np.array([line.split() for line in lines], np.float64).reshape(-1, 5)
        if (rows[:, 0] >= len(to_class)).any():
            raise ValueError(f"{text}: class {rows[:, 0].max():.0f}, {len(to_class)} are named")
        centre, half = rows[:, 1:3] * size, rows[:, 3:] * size / 2
        pages.append(
            Labelled(
                path=path,
                source=_source(path),
                size=size,
                class_ids=np.array([to_class[int(number)] for number in rows[:, 0]], np.int64),
                xyxy=_rows(np.hstack([centre - half, centre + half])),
                ignore=_rows([]),
            )
        )
    return pages


def read_coco(table: Path, folder: Path) -> list[Labelled]:
    """The pages of one COCO table, whose images lie anywhere below `folder`. Crowds are ignored."""
    content = json.loads(table.read_text())
    used = {box["category_id"] for box in content["annotations"]}
    to_class = {
        category["id"]: _class_id(category["name"], table)
        for category in content["categories"]
        if category["id"] in used
    }
    boxes = defaultdict(list)
    for box in content["annotations"]:
        boxes[box["image_id"]].append(box)
    pages = []
    for image in content["images"]:
        name = image["file_name"]
        near = [table.parent / name, folder / "images" / name]
        path = next((path for path in near if path.exists()), None) or next(
            folder.rglob(Path(name).name), None
        )
        if path is None:
            raise FileNotFoundError(f"{table}: no file {name!r} below {folder}")
        kept = [box for box in boxes[image["id"]] if not box.get("iscrowd")]
        crowds = [box for box in boxes[image["id"]] if box.get("iscrowd")]
        pages.append(
            Labelled(
                path=path,
                source=_source(path),
                size=(image["width"], image["height"]),
                class_ids=np.array([to_class[box["category_id"]] for box in kept], np.int64),
                xyxy=_corners(kept),
                ignore=_corners(crowds),
            )
        )
    return pages


def _corners(boxes: list[dict]) -> np.ndarray:
    """COCO's x, y, width, height -> (n, 4) xyxy."""
    rows = _rows([box["bbox"] for box in boxes])
    return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]])


def _is_coco(table: Path) -> bool:
    content = json.loads(table.read_text())
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def _in_split(path: Path, split: str) -> bool:
    return not split or bool(SPLIT_NAMES.get(split, {split}) & set(path.parts[:-1]))


def _source(path: Path) -> str:
    """The document of a page: its name, without what Roboflow adds to each augmented copy."""
    return path.stem.split(".rf.")[0]


def _label_file(image: Path, folder: Path) -> Path:
    """The .txt beside an image if it is there, else the one in `labels` instead of `images`."""
    beside = image.with_suffix(".txt")
    parts = list(image.relative_to(folder).with_suffix(".txt").parts)
    if beside.exists() or "images" not in parts:
        return beside
    parts[parts.index("images")] = "labels"
    return folder.joinpath(*parts)


def _yolo_names(folder: Path) -> list[str]:
    """Class names by number, from the folder's *.yaml, obj.names or classes.txt, else CLASSES."""
    for table in sorted(folder.glob("*.y*ml")):
        names = (yaml.safe_load(table.read_text()) or {}).get("names")
        if names:
            return list(names.values() if isinstance(names, dict) else names)
    for name in ("obj.names", "classes.txt"):
        if (folder / name).exists():
            return (folder / name).read_text().split()
    return list(CLASSES)


def _class_id(name: str, where: Path) -> int:
    known = name.lower().removesuffix("s")
    if known not in CLASSES:
        raise ValueError(f"{where}: class {name!r}, known are {CLASSES}")
    return CLASSES.index(known)


def yolo_lines(class_ids: np.ndarray, xyxy: np.ndarray, size: tuple[int, int]) -> str:
    """One line a box: class, then centre x, centre y, width, height as shares of `size` (w, h)."""
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2 / size
    sizes = (xyxy[:, 2:] - xyxy[:, :2]) / size
    rows = zip(class_ids, centres, sizes, strict=True)
    return "".join(f"{i} {c[0]:.6f} {c[1]:.6f} {s[0]:.6f} {s[1]:.6f}\n" for i, c, s in rows)


def _rows(boxes: list | np.ndarray) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)
