"""Boxes that labels lack, proposed by a trained detector and accepted by a person.

    python -m training.detector.teacher propose --real DIR ... --weights RUN/last.pt --out PROPOSED
    python -m training.detector.teacher accept PROPOSED 8 26 49

`propose` looks through training pages for what scores at least --score and meets neither a box of
its class nor an area to ignore, and writes PROPOSED/boxes.json and numbered crops, sheet_N.png, for
a person to look at. `accept` adds the boxes of these numbers to completed.json, by the digest of
the page's file, which labels.complete reads; no page or crop is kept there.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ultralytics.nn.tasks import load_checkpoint

from inprocess.steps import fit as fits
from inprocess.steps import heads
from training.detector.labels import CLASSES, COMPLETED, Labelled, digest, training_pages
from training.detector.score import Found
from training.detector.train import find
from training.detector.views import cache, plain_view, read_cached

MEETS = 0.3  # share of a proposal under a box or an area, from which it is known
CROP, ACROSS, DOWN = 150, 10, 6  # px of a crop; crops of a sheet


@dataclass(frozen=True)
class Proposal:
    """A box that no label has, in pixels of its page."""

    path: str
    digest: str
    kind: str  # of CLASSES
    score: float
    xyxy: tuple[float, float, float, float]


def unknown(truth: Labelled, found: Found, score: float) -> np.ndarray:
    """Which of the found boxes (n,) score enough and meet nothing that is known; (n,) bool."""
    wanted = found.scores >= score
    for number in np.nonzero(wanted)[0]:
        known = np.vstack([truth.xyxy[truth.class_ids == found.class_ids[number]], truth.ignore])
        box = found.xyxy[number]
        sides = np.minimum(box[2:], known[:, 2:]) - np.maximum(box[:2], known[:, :2])
        shared = sides.clip(0).prod(axis=1)
        wanted[number] = not (shared > MEETS * (box[2:] - box[:2]).prod()).any()
    return wanted


def propose(folders: Sequence[Path], weights: Path, out: Path, score: float) -> list[Proposal]:
    """Write the proposals for the folders' training pages into `out`, best first."""
    model: Any = load_checkpoint(weights)[0]
    height, width = model.args["imgsz"]
    fit = fits.Fit(width, height, model.args["fit"])
    crops: list[tuple[Proposal, np.ndarray]] = []
    for folder in folders:
        labelled = training_pages(folder)[0]
        pages = cache(labelled, out / "cache", fit, folder.name)
        truth, found = find(model, pages, fit)
        for page, small, known, seen in zip(labelled, pages, truth, found, strict=True):
            for number in np.nonzero(unknown(known, seen, score))[0]:
                pixels = read_cached(small.file)
                box = fits.letterbox(pixels.shape[1], pixels.shape[0], fit)
                xyxy = heads.to_page(
                    seen.xyxy[number][None], np.array(box, np.float32), np.array(page.size)
                )[0]
                proposal = Proposal(
                    path=str(page.path),
                    digest=digest(page.path),
                    kind=CLASSES[seen.class_ids[number]],
                    score=round(float(seen.scores[number]), 3),
                    xyxy=tuple(round(float(edge), 1) for edge in xyxy),  # type: ignore[arg-type]
                )
                crops.append((proposal, crop(plain_view(small, fit).pixels, seen.xyxy[number])))
    crops.sort(key=lambda each: -each[0].score)
    proposals = [proposal for proposal, _ in crops]
    (out / "boxes.json").write_text(json.dumps([asdict(one) for one in proposals], indent=1))
    write_sheets([pixels for _, pixels in crops], proposals, out)
    return proposals


def crop(pixels: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """(CROP, CROP, 3) uint8 RGB: the box and its surroundings."""
    centre, half = (xyxy[:2] + xyxy[2:]) / 2, max(50.0, float((xyxy[2:] - xyxy[:2]).max()))
    left, top, right, bottom = (int(edge) for edge in np.round(xyxy))
    marked = cv2.rectangle(pixels.copy(), (left, top), (right, bottom), (255, 0, 0))
    x0, y0 = np.round(centre - half).astype(int).clip(0)
    x1, y1 = np.round(centre + half).astype(int)
    return cv2.resize(marked[y0:y1, x0:x1], (CROP, CROP))


def write_sheets(crops: Sequence[np.ndarray], proposals: Sequence[Proposal], out: Path) -> None:
    """Contact sheets of numbered crops."""
    size = ACROSS * DOWN
    for first in range(0, len(crops), size):
        sheet = np.full((DOWN * CROP, ACROSS * CROP, 3), 255, np.uint8)
        for place, number in enumerate(range(first, min(first + size, len(crops)))):
            y, x = divmod(place, ACROSS)
            tile = sheet[y * CROP : (y + 1) * CROP, x * CROP : (x + 1) * CROP]
            tile[:] = crops[number]
            words = f"{number} {proposals[number].kind[:4]} {proposals[number].score:.2f}"
            cv2.putText(tile, words, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (200, 0, 200))
        cv2.imwrite(str(out / f"sheet_{first // size}.png"), sheet[..., ::-1])


def accept(proposed: Path, numbers: Sequence[int], table: Path = COMPLETED) -> int:
    """Add the proposals of these numbers to `table`; returns how many it did not have.

    ValueError names a number that was not proposed.
    """
    proposals = [Proposal(**one) for one in json.loads((proposed / "boxes.json").read_text())]
    completed = json.loads(table.read_text()) if table.exists() else {}
    added = 0
    for number in numbers:
        if not 0 <= number < len(proposals):
            raise ValueError(f"number {number}: {len(proposals)} were proposed, from 0")
        one = proposals[number]
        entry = completed.setdefault(one.digest, {"boxes": [], "labelled": []})
        box = {"class": one.kind, "xyxy": list(one.xyxy), "by": "teacher"}
        if box not in entry["boxes"]:
            entry["boxes"].append(box)
            added += 1
    lines = (f"{json.dumps(key)}: {json.dumps(completed[key])}" for key in sorted(completed))
    table.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return added


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True, dest="step")
    asks = steps.add_parser("propose")
    asks.add_argument("--real", type=Path, action="append", required=True)
    asks.add_argument("--weights", type=Path, required=True)
    asks.add_argument("--out", type=Path, required=True)
    asks.add_argument("--score", type=float, default=0.5)
    takes = steps.add_parser("accept")
    takes.add_argument("proposed", type=Path)
    takes.add_argument("numbers", type=int, nargs="+")
    options = parser.parse_args()
    try:
        if options.step == "propose":
            found = propose(options.real, options.weights, options.out, options.score)
            print(f"{options.out}: {len(found)} proposals")
        else:
            print(f"{COMPLETED.name}: {accept(options.proposed, options.numbers)} boxes added")
    except (ValueError, FileNotFoundError) as error:
        parser.exit(1, f"training.detector.teacher: {error}\n")


if __name__ == "__main__":
    main()
