"""Fetch the published signature pages from the Hugging Face hub into a folder to train on.

    python -m training.detector.hub --out DIR [--dataset tech4humans/signature-detection]
    python -m training.detector.train --real DIR ...

That data set has 2,819 pages under Apache-2.0. Its publisher asks for a login (hf auth login) and
for consent on its page. It boxes signatures alone, so nothing is learnt about stamps from it.

DIR gets the folders train, validation and test, each with its pages and their COCO table.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from training.detector.labels import read_pages

DATASET = "tech4humans/signature-detection"
SPLITS = ("train", "validation", "test")


def class_names(card: Path) -> list[str]:
    """The classes by number, from the head of a dataset's card (README.md).

    ValueError if it does not name them.
    """
    try:
        head = yaml.safe_load(card.read_text().split("---")[1])
        features = {feature["name"]: feature for feature in head["dataset_info"]["features"]}
        objects = {feature["name"]: feature for feature in features["objects"]["sequence"]}
        names = objects["category"]["dtype"]["class_label"]["names"]
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{card}: names no classes of objects.category") from error
    return [names[number] for number in sorted(names, key=int)]


def write_split(rows: polars.DataFrame, names: list[str], out: Path) -> None:
    """Write the images of a split and their COCO table, _annotations.coco.json, into `out`.

    Rows have image_id, image {bytes, path}, width, height and objects {bbox, category}, with boxes
    as x, y, width, height in pixels. ValueError if two images have one name.
    """
    out.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for row in rows.iter_rows(named=True):
        # Pages are split by source, which is the publisher's name of the file where it is given.
        name = Path(row["image"]["path"] or f"{out.name}_{row['image_id']:05d}.jpg").name
        (out / name).write_bytes(row["image"]["bytes"])
        size = {"width": row["width"], "height": row["height"]}
        images.append({"id": row["image_id"], "file_name": name} | size)
        boxes = zip(row["objects"]["bbox"], row["objects"]["category"], strict=True)
        annotations += [
            {"image_id": row["image_id"], "category_id": category, "bbox": bbox}
            for bbox, category in boxes
        ]
    if len({image["file_name"] for image in images}) < len(images):
        raise ValueError(f"{out}: {len(images)} images, and some have the same name")
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    table = {"images": images, "annotations": annotations, "categories": categories}
    (out / "_annotations.coco.json").write_text(json.dumps(table))


def fetch(
    dataset: str, revision: str | None, out: Path, download: Callable[..., str] = snapshot_download
) -> None:
    """Download a dataset, and write it into `out` in a form that `labels.read_pages` reads.

    SPLIT-*.parquet files are unpacked; a dataset without any is copied as it is. Raises what
    `download` does; ValueError as `class_names` and `write_split`.
    """
    snapshot = Path(download(dataset, repo_type="dataset", revision=revision))
    tables = {split: sorted(snapshot.rglob(f"{split}-*.parquet")) for split in SPLITS}
    if not any(tables.values()):
        shutil.copytree(snapshot, out, dirs_exist_ok=True)
        return
    names = class_names(snapshot / "README.md")
    for split, files in tables.items():
        if files:
            write_split(polars.read_parquet(files), names, out / split)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the pages")
    parser.add_argument("--dataset", default=DATASET, help="owner/name on the hub")
    parser.add_argument("--revision", help="commit or tag; the newest if left out")
    arguments = parser.parse_args()
    try:
        fetch(arguments.dataset, arguments.revision, arguments.out)
    except GatedRepoError:
        where = f"https://huggingface.co/datasets/{arguments.dataset}"
        sys.exit(f"{arguments.dataset}: consent at {where}, then log in with: hf auth login")
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = type(error.__cause__ or error).__name__
        sys.exit(
            f"{arguments.dataset}: not to be had from the hub ({reason}); without a network, "
            "download the dataset elsewhere with this command and give its folder to --real"
        )
    pages = read_pages(arguments.out)
    print(f"{arguments.out}: {len(pages)} pages, {sum(len(page.xyxy) for page in pages)} boxes")


if __name__ == "__main__":
    main()
