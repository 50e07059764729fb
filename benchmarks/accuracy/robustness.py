"""What each defect of scans and photos costs the detector as served.

    python -m benchmarks.accuracy.robustness --out REPORT [--count N] [--pages DIR] [--url URL]

asks the running server for N pages: once as they are, which is called clean, and once for each
defect alone at each strength: those of training/detector/scan.py, and four that move the page. The
pages are generated ones of a clean scanner, so that nothing else is wrong with them; with --pages,
those of a folder, read as by benchmarks.accuracy.detector. Pages larger than scan.FRAME px, for
which the defects' numbers are, come down to it first. REPORT gets robustness.json and
robustness.png.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.accuracy.detector import ask, operating_point, summary
from benchmarks.machine import command, machine
from countersign import Client
from training.detector import scan
from training.detector.labels import CLASSES, Labelled
from training.detector.pages.compose import draw_page
from training.detector.pages.samples import CLEAN
from training.detector.score import read_kinds, score

matplotlib.use("Agg")
from matplotlib import pyplot

DETECTOR = "document_detector"
STRENGTHS = (0.5, 1.0)
HEIGHT = 1170  # px of a generated page: A4 at 100 dpi
LEFT_MIN = 0.5  # share of a box that must be left on the page; with less it counts neither way
WHITE = (255, 255, 255)  # around a page that was moved

Size = tuple[int, int]  # width, height
Move = Callable[[Size, float, np.random.Generator], tuple[np.ndarray, Size]]


def skew(size: Size, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, Size]:
    """Turned either way, by 5 degrees at full strength."""
    angle = 5 * strength * float(rng.choice((-1, 1)))
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), angle, 1.0)
    return np.vstack([turn, (0, 0, 1)]), size


def perspective(size: Size, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, Size]:
    """Held at an angle: each corner up to 8 % of the page off, some of them cut off."""
    corners = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size).astype(np.float32)
    off = rng.uniform(-0.08, 0.08, (4, 2)) * strength * size
    return cv2.getPerspectiveTransform(corners, (corners + off).astype(np.float32)), size


def squash(size: Size, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, Size]:
    """Stretched towards a square, which it is at full strength."""
    width, height = (round(side + strength * (max(size) - side)) for side in size)
    return np.diag([width / size[0], height / size[1], 1.0]), (width, height)


def shrink(size: Size, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, Size]:
    """Small in the middle of the glass, half as wide and high at full strength."""
    zoom = 1 - 0.5 * strength
    x, y = np.array(size) * (1 - zoom) / 2
    return np.array([[zoom, 0, x], [0, zoom, y], [0, 0, 1]]), size


DEFECTS: dict[str, scan.Defect] = {
    defect.__name__: defect
    for defect in (
        scan.photocopy, scan.fax_bands, scan.black_edges, scan.specks, scan.streaks,
        scan.show_through, scan.old_paper, scan.uneven_light, scan.defocus, scan.motion_blur,
        scan.low_resolution, scan.sensor_noise, scan.jpeg_noise, scan.grey,
    )
}  # fmt: skip
MOVES: dict[str, Move] = {move.__name__: move for move in (skew, perspective, squash, shrink)}


def drawn(count: int, seed: int, folder: Path) -> list[Labelled]:
    """Generated test pages of a clean scanner, as PNG files in the folder."""
    pages = []
    for index in tqdm(range(count), desc="pages", unit="page"):
        page = draw_page("test", index, seed, HEIGHT, CLEAN)
        path = folder / f"{index:04d}.png"
        Image.fromarray(page.pixels).save(path)
        height, width = page.pixels.shape[:2]
        source = f"house {page.template}"
        pages.append(
            Labelled(path, source, (width, height), page.class_ids, page.xyxy, page.ignore)
        )
    return pages


def clean(page: Labelled) -> tuple[np.ndarray, Labelled]:
    """A page's pixels (H, W, 3) uint8 RGB, at most scan.FRAME px long, and its labels in them."""
    with Image.open(page.path) as image:
        pixels = np.array(image.convert("RGB"))
    scale = scan.FRAME / max(page.size)
    if scale >= 1:
        return pixels, page
    size = (max(1, round(page.size[0] * scale)), max(1, round(page.size[1] * scale)))
    shares = np.tile(np.array(size, np.float32) / page.size, 2)
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return resized, replace(page, size=size, xyxy=page.xyxy * shares, ignore=page.ignore * shares)


def moved_box(grey: np.ndarray, box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The box (4,) xyxy of what a box on a grey page (H, W) uint8 holds, after a homography.

    A turned box is larger than its ink, so the ink itself is moved: what Otsu calls dark. The
    middles of the box's edges move along, for the margin that its label has.
    """
    x0, y0, x1, y1 = box
    left, top, right, bottom = np.round(box).astype(int).clip(0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    points = np.array([[x0, y], [x1, y], [x, y0], [x, y1]], np.float32)
    crop = grey[top:bottom, left:right]
    if crop.size:
        limit, _ = cv2.threshold(crop, 0, 255, cv2.THRESH_OTSU)
        rows, columns = np.nonzero(crop <= limit)
        corners = np.stack([columns + left, rows + top], axis=1)  # of each dark pixel
        points = np.vstack([points, corners, corners + 1]).astype(np.float32)
    moved = cv2.perspectiveTransform(points.reshape(-1, 1, 2), matrix).reshape(-1, 2)
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)])


def moved(
    pixels: np.ndarray, page: Labelled, matrix: np.ndarray, size: Size
) -> tuple[np.ndarray, Labelled]:
    """A page after a homography, on white. What is mostly cut off is to be ignored."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    whole = np.array([moved_box(grey, box, matrix) for box in page.xyxy]).reshape(-1, 4)
    areas = np.array([moved_box(grey, box, matrix) for box in page.ignore]).reshape(-1, 4)
    left = whole.clip(0, np.tile(size, 2))
    inside = area(left) >= LEFT_MIN * area(whole)
    labels = replace(
        page,
        size=size,
        class_ids=page.class_ids[inside],
        xyxy=left[inside].astype(np.float32),
        ignore=np.vstack([areas, left[~inside]]).astype(np.float32),
    )
    return cv2.warpPerspective(pixels, matrix, size, borderValue=WHITE), labels


def area(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) xyxy -> (n,)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def damaged(page: Labelled, name: str, strength: float, seed: int) -> tuple[np.ndarray, Labelled]:
    """A page (H, W, 3) uint8 RGB with one defect, and what is on it. The strength moves nothing
    else: a page has the same draw of chance at each. KeyError if there is no such defect."""
    pixels, labels = clean(page)
    if name == "clean":
        return pixels, labels
    rng = np.random.default_rng([seed, *f"{name} {page.path.name}".encode()])
    if name in MOVES:
        return moved(pixels, labels, *MOVES[name](labels.size, strength, rng))
    return DEFECTS[name](pixels, strength, rng), labels


def measure(
    client: Client,
    pages: Sequence[Labelled],
    thresholds: dict[str, float],
    name: str,
    strength: float,
    seed: int,
) -> dict:
    """One row of the report: what is found on all pages with one defect at one strength."""
    truth: list[Labelled] = []

    def images() -> Iterator[np.ndarray]:
        for page in pages:
            pixels, labels = damaged(page, name, strength, seed)
            truth.append(labels)
            yield pixels

    found = ask(client, DETECTOR, images(), len(pages), f"{name} {strength}")
    return {
        "defect": name,
        "strength": strength,
        "classes": summary(score(truth, found), thresholds),
    }


def draw(rows: Sequence[dict], target: Path) -> None:
    """AP50 per class: a line for the clean pages, the first of the rows, and a dot for each
    strength of a defect, the costliest on top."""
    unharmed, *others = rows
    figure, panels = pyplot.subplots(1, len(CLASSES), figsize=(6 * len(CLASSES), 6))
    for axes, label in zip(panels, CLASSES, strict=True):
        points: dict[str, dict[float, float]] = {}
        for row in others:
            points.setdefault(row["defect"], {})[row["strength"]] = row["classes"][label]["ap50"]
        order = sorted(points, key=lambda name: np.mean(list(points[name].values())), reverse=True)
        for strength in STRENGTHS:
            axes.plot([points[name][strength] for name in order], order, "o", label=f"{strength}")
        axes.axvline(unharmed["classes"][label]["ap50"], color="grey", label="clean")
        axes.set(title=label, xlabel="AP50", xlim=(0, 1.01))
        axes.grid(alpha=0.3)
        axes.legend(title="strength", loc="lower left")
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    pyplot.close(figure)


def table(rows: Sequence[dict]) -> str:
    """Per class: AP50, its share of the clean pages' (the first row), precision and recall."""
    heads = [f"{label:>9} AP50 share prec. recall" for label in CLASSES]
    lines = ["  ".join([f"{'defect':14} strength", *heads])]
    for row in rows:
        cells = [f"{row['defect']:14} {row['strength']:8.1f}"]
        for label in CLASSES:
            figure, best = row["classes"][label], rows[0]["classes"][label]["ap50"]
            share = figure["ap50"] / best if best else float("nan")
            cell = f"{figure['ap50']:14.3f} {share:5.2f} {figure['precision']:5.3f}"
            cells.append(f"{cell} {figure['recall']:6.3f}")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=80, help="pages; of a folder, spread over all")
    parser.add_argument("--pages", type=Path, metavar="DIR", help="pages that are not generated")
    parser.add_argument("--split", default="validation", help="of a folder that says its splits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", default="127.0.0.1:8001", help="host:port of the gRPC endpoint")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    trials = [("clean", 0.0)]
    trials += [(name, strength) for name in [*DEFECTS, *MOVES] for strength in STRENGTHS]
    with Client(args.url) as client, tempfile.TemporaryDirectory() as folder:
        if args.pages:
            (pages,) = read_kinds([args.pages], args.split).values()
            pages = pages[:: -(-len(pages) // args.count)]
        else:
            pages = drawn(args.count, args.seed, Path(folder))
        thresholds = operating_point(client, DETECTOR)
        rows = [
            measure(client, pages, thresholds, name, strength, args.seed)
            for name, strength in trials
        ]
    report = {
        "pages": len(pages),
        "long_side": scan.FRAME,
        "seed": args.seed,
        "rows": rows,
        "command": command(),
        "machine": machine(),
    }
    (args.out / "robustness.json").write_text(json.dumps(report, indent=2) + "\n")
    draw(rows, args.out / "robustness.png")
    print(table(rows))


if __name__ == "__main__":
    main()
