"""Pages with marks of known places, in the form of labels.json."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT = 300, 400


@pytest.fixture(scope="session", name="draw_marks")
def draw_marks_fixture() -> Callable[..., None]:
    return draw_marks


def draw_marks(folder: Path, count: int, split: str = "train", first: int = 0) -> None:
    """Add `count` white pages, each with a blue zigzag (signature) and a red ring (stamp)."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    table = folder / "labels.json"
    labels = json.loads(table.read_text()) if table.exists() else {}
    for number in range(first, first + count):
        page = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
        x, y = 20 + 13 * number % 120, 40 + 37 * number % 100
        steps = np.array([[x + 10 * i, y + (30 if i % 2 else 0)] for i in range(9)])
        cv2.polylines(page, [steps], False, (160, 60, 20), 2)
        u, v = 180 - 11 * number % 110, 300 - 23 * number % 90
        cv2.circle(page, (u, v), 30, (50, 40, 200), 3)
        name = f"page_{number}.png"
        cv2.imwrite(str(folder / "images" / name), page)
        boxes = [
            {"class": "signature", "xyxy": [x - 1, y - 1, x + 82, y + 32]},
            {"class": "stamp", "xyxy": [u - 32, v - 32, u + 33, v + 33]},
        ]
        size = {"width": WIDTH, "height": HEIGHT}
        labels[name] = size | {"document": f"d{number}", "split": split, "boxes": boxes}
    table.write_text(json.dumps(labels))


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pages to train on and two for validation."""
    folder = tmp_path_factory.mktemp("marked")
    draw_marks(folder, 6)
    draw_marks(folder, 2, "dev", first=6)
    return folder


@pytest.fixture
def four_pages(tmp_path: Path) -> Path:
    """A folder of four pages to train on, which are asked for again for validation."""
    pages = tmp_path / "pages"
    draw_marks(pages, 4)
    labels = json.loads((pages / "labels.json").read_text())
    for name, page in list(labels.items()):
        (pages / "images" / f"dev_{name}").write_bytes((pages / "images" / name).read_bytes())
        labels[f"dev_{name}"] = page | {"split": "dev"}
    (pages / "labels.json").write_text(json.dumps(labels))
    return pages
