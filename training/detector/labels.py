"""Labelled pages on disk: labels.json, YOLO folders, COCO tables.

labels.json stands beside a folder `images` and maps each file to

    width, height    px, as a person sees the page (EXIF applied)
    boxes            [{"class", "xyxy", "kind"}], `kind` where it is known
    document         pages of one document count as one source; the file's name if left out
    split            train, validation (or dev, valid, val) or test; left out: none
    labelled         the classes whose boxes are complete; all if left out
    ignore           [{"xyxy"}]: areas that count neither as background nor as found
    group, view      what the figures are told apart by

YOLO is read as Roboflow (SPLIT/images, data.yaml) and CVAT (images/SPLIT and data.yaml, or
obj_train_data and obj.names) export it; COCO as both do. Their split is the folder's or table's
name; a class that they do not name is not labelled.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("signature", "stamp")
NOT_INK = ("printed_seal", "sticker_seal", "digital_overlay")  # kinds of box in labels.json
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
COMPLETED = Path(__file__).with_name("completed.json")
ORIENTATION = 274  # EXIF tag; 5 to 8 stand a page on its side
EDGE = 2  # px by which a table's size may differ from its file's


@dataclass(frozen=True)
class Labelled:
    """One page file and what is on it, in pixels of the page as a person sees it."""

    path: Path
    source: str  # the document it comes from
    size: tuple[int, int]  # width, height
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32
    ignore: np.ndarray  # (m, 4) float32: neither hit nor false alarm
    split: str = ""  # train, validation, test; empty where the folder does not say
    labelled: frozenset[str] = frozenset(CLASSES)  # the classes whose boxes are complete
    kinds: tuple[str, ...] = ()  # (n,) or empty: the kind of each box, "" where it is not known
    group: str = ""  # of pages that are scored together, "" where there is one
    closeup: bool = False  # a crop that one mark fills


def read_pages(folder: Path, split: str = "", ink_only: bool = False) -> list[Labelled]:
    """The labelled pages of a folder in any of the three forms, of one split or of all.

    `split` is train, validation (or dev, valid, val) or test; a page whose folder does not say its
    split is in none. `ink_only` ignores boxes of NOT_INK, which labels.json alone tells.
    FileNotFoundError if nothing is left; ValueError names a class or split that is not known, a
    line that is no box, or a size that is not the file's.
    """
    if (folder / "labels.json").exists():
        pages = read_json(folder, ink_only)
    elif tables := [table for table in sorted(folder.rglob("*.json")) if _is_coco(table)]:
        pages = [page for table in tables for page in read_coco(table, folder)]
    else:
        pages = read_yolo(folder)
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r}, known are {', '.join(SPLITS)}")
    chosen = [page for page in pages if not split or page.split == SPLITS[split]]
    if not chosen:
        there = sorted({page.split for page in pages} - {""}) or ["none"]
        raise FileNotFoundError(f"{folder}: no pages of split {split!r}; it has {', '.join(there)}")
    return chosen


def read_json(folder: Path, ink_only: bool = False) -> list[Labelled]:
    """The pages of `folder`/labels.json. Raises as `read_pages`."""
    where = folder / "labels.json"
    pages = []
    for name, page in sorted(json.loads(where.read_text()).items()):
        boxes: list[dict] = []
        ignore = list(page.get("ignore", []))
        for box in page["boxes"]:
            if box["class"] not in CLASSES:
                raise ValueError(f"{where}: {name} has class {box['class']!r}, known are {CLASSES}")
            (ignore if ink_only and box.get("kind") in NOT_INK else boxes).append(box)
        split = page.get("split", "")
        if split and split not in SPLITS:
            raise ValueError(f"{where}: {name} has split {split!r}, known are {', '.join(SPLITS)}")
        path, size = folder / "images" / name, (page["width"], page["height"])
        check_size(path, size, where)
        pages.append(
            Labelled(
                path=path,
                source=page.get("document", page.get("source", name)),
                size=size,
                class_ids=np.array([CLASSES.index(box["class"]) for box in boxes], np.int64),
                xyxy=_rows([box["xyxy"] for box in boxes]),
                ignore=_rows([box["xyxy"] if isinstance(box, dict) else box for box in ignore]),
                split=SPLITS.get(split, ""),
                labelled=frozenset(page.get("labelled", CLASSES)),
                kinds=tuple(box.get("kind") or "" for box in boxes),
                group=page.get("group", ""),
                closeup=page.get("view") == "closeup",
            )
        )
    return pages


def read_yolo(folder: Path) -> list[Labelled]:
    """The images below `folder`, with the .txt beside each or in its `labels` folder.

    A line is a class and a box (centre, size) or a polygon, whose box it then stands for, as shares
    of the page. An image without a file is a page with nothing on it. FileNotFoundError if there
    are no images or no labels at all; ValueError names a line that is neither.
    """
    images = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    texts = {path: _label_file(path, folder) for path in images}
    if not any(text.exists() for text in texts.values()):
        raise FileNotFoundError(f"{folder}: no labels.json, no COCO table, no images with .txt")
    to_class = [_class_id(name, folder) for name in _yolo_names(folder)]
    labelled = frozenset(CLASSES[class_id] for class_id in to_class)
    pages = []
    for path, text in texts.items():
        size = upright_size(path)
        lines = text.read_text().splitlines() if text.exists() else []
        rows = [_yolo_row(line, text) for line in lines if line.strip()]
        for number, _ in rows:
            if number >= len(to_class):
                raise ValueError(f"{text}: class {number}, {len(to_class)} are named")
        pages.append(
            Labelled(
                path=path,
                source=_source(path),
                size=size,
                class_ids=np.array([to_class[number] for number, _ in rows], np.int64),
                xyxy=_rows([box for _, box in rows]) * np.array([*size, *size], np.float32),
                ignore=_rows([]),
                split=_split(path.relative_to(folder)),
                labelled=labelled,
            )
        )
    return pages


def _yolo_row(line: str, text: Path) -> tuple[int, np.ndarray]:
    """A line's class number, and its box as shares of the page, xyxy."""
    try:
        number, *values = line.split()
        class_id, shares = int(number), np.array(values, np.float64)
    except ValueError as error:
        raise ValueError(f"{text}: {line!r} is no class with numbers") from error
    if len(shares) == 4:
        return class_id, np.hstack([shares[:2] - shares[2:] / 2, shares[:2] + shares[2:] / 2])
    if len(shares) < 6 or len(shares) % 2:
        raise ValueError(f"{text}: {len(shares)} numbers after the class, a box has 4, a polygon "
                         "an even number from 6")  # fmt: skip
    points = shares.reshape(-1, 2)
    return class_id, np.hstack([points.min(axis=0), points.max(axis=0)])


def read_coco(table: Path, folder: Path) -> list[Labelled]:
    """The pages of one COCO table, whose images lie anywhere below `folder`. Crowds are ignored."""
    content = json.loads(table.read_text())
    used = {box["category_id"] for box in content["annotations"]}
    to_class = {
        category["id"]: _class_id(category["name"], table)
        for category in content["categories"]
        if category["id"] in used
    }
    named = {_singular(category["name"]) for category in content["categories"]}
    boxes = defaultdict(list)
    for box in content["annotations"]:
        boxes[box["image_id"]].append(box)
    pages = []
    for image in content["images"]:
        name, size = image["file_name"], (image["width"], image["height"])
        near = [table.parent / name, folder / "images" / name]
        path = next((path for path in near if path.exists()), None) or next(
            folder.rglob(Path(name).name), None
        )
        if path is None:
            raise FileNotFoundError(f"{table}: no file {name!r} below {folder}")
        check_size(path, size, table)
        marks = [box for box in boxes[image["id"]] if not box.get("iscrowd")]
        crowds = [box for box in boxes[image["id"]] if box.get("iscrowd")]
        pages.append(
            Labelled(
                path=path,
                source=_source(path),
                size=size,
                class_ids=np.array([to_class[box["category_id"]] for box in marks], np.int64),
                xyxy=_corners(marks),
                ignore=_corners(crowds),
                split=_split(path.relative_to(folder)) or _split(table.relative_to(folder)),
                labelled=frozenset(named) & frozenset(CLASSES),
            )
        )
    return pages


def training_pages(folder: Path) -> tuple[list[Labelled], list[Labelled]]:
    """A folder's pages to train on, and those that it keeps for validation.

    Without a page of split train, pages that say no split are trained on, and none is kept. Pages
    of split test are in neither. Raises as `read_pages`, and FileNotFoundError if all are of other
    splits.
    """
    pages = read_pages(folder)
    training = [page for page in pages if page.split == "train"] or [
        page for page in pages if not page.split
    ]
    if not training:
        raise FileNotFoundError(f"{folder}: {len(pages)} pages, none of them to train on")
    return training, [page for page in pages if page.split == "validation"]


def hold_out(
    pages: Sequence[Labelled], share: float, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """Pages to train on, and those of a share of all sources, drawn by seed; none is in both."""
    sources = sorted({page.source for page in pages})
    drawn = np.random.default_rng(seed).permutation(len(sources))[: round(share * len(sources))]
    held = {sources[i] for i in drawn}
    return (
        [page for page in pages if page.source not in held],
        [page for page in pages if page.source in held],
    )


def complete(pages: Sequence[Labelled], table: Path = COMPLETED) -> list[Labelled]:
    """The pages with the boxes that their publishers left out.

    `table` maps the SHA-256 of a file to its added boxes, {"class", "xyxy", "by"}, and to
    `labelled`, the classes that are then complete; "by" is hand or teacher.
    """
    added = json.loads(table.read_text()) if table.exists() else {}
    return [_with(page, added.get(digest(page.path))) for page in pages] if added else list(pages)


def _with(page: Labelled, added: dict[str, Any] | None) -> Labelled:
    if added is None:
        return page
    boxes = added["boxes"]
    ids = np.array([CLASSES.index(box["class"]) for box in boxes], np.int64)
    kinds = (page.kinds or ("",) * len(page.class_ids)) + ("",) * len(boxes)
    return replace(
        page,
        class_ids=np.concatenate([page.class_ids, ids]),
        xyxy=np.concatenate([page.xyxy, _rows([box["xyxy"] for box in boxes])]),
        kinds=kinds,
        labelled=page.labelled | frozenset(added["labelled"]),
    )


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height in px of an image file as a person sees it. ValueError if it is none."""
    try:
        with Image.open(path) as image:
            size = image.size
            turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except OSError as error:
        raise ValueError(f"{path}: no image: {error}") from error
    return (size[1], size[0]) if turned else size


def check_size(path: Path, size: tuple[int, int], table: Path) -> None:
    """ValueError if the file has another size than its table says."""
    file_size = upright_size(path)
    if max(abs(file_size[0] - size[0]), abs(file_size[1] - size[1])) > EDGE:
        raise ValueError(
            f"{table}: {path.name} is {size[0]} x {size[1]}, its file {file_size[0]} x "
            f"{file_size[1]} as a person sees it"
        )


def _corners(boxes: list[dict]) -> np.ndarray:
    """COCO's x, y, width, height -> (n, 4) xyxy."""
    rows = _rows([box["bbox"] for box in boxes])
    return np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]])


def _is_coco(table: Path) -> bool:
    content = json.loads(table.read_text())
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def _split(path: Path) -> str:
    """The split that a folder's name says, or for a table a word of its own; else ""."""
    words = [*path.parts[:-1]]
    if path.suffix == ".json":
        words += re.split(r"[\W_\d]+", path.stem)
    return next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), "")


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
    known = _singular(name)
    if known not in CLASSES:
        raise ValueError(f"{where}: class {name!r}, known are {CLASSES}")
    return CLASSES.index(known)


def _singular(name: str) -> str:
    return name.lower().removesuffix("s")


def _rows(boxes: Sequence[Any] | np.ndarray) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)
