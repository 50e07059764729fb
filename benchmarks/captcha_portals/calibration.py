"""Whether readers trained on few images are as sure as they should be: the look half, not served.

    python -m benchmarks.captcha_portals.calibration --out RUNS

For each portal and number of images: trains as docs/captcha.md says, reads the portal's other
images, and fits "right" on the confidence's log-odds (logistic regression). Slope 1 and offset 0
is a confidence that is what it says. How both scatter from portal to portal is the prior of
export/calibration.py. RUNS keeps the readers, so that a second call reads and fits anew, and gets
calibration.json.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
from tqdm import tqdm

from benchmarks.captcha_portals.__main__ import DRAWN, START, chosen, run
from benchmarks.captcha_portals.portals import LOOK, Portal, draw, portals
from benchmarks.machine import command, machine
from export.calibration import fitted_line, log_odds, readings, temperature_and_point
from training.captcha.images import load
from training.captcha.model import load as load_reader
from training.captcha.train import HELD_OUT, logits_of

IMAGES = (250, 500)
PRECISIONS = (0.9995, 0.999, 0.995)
FLAT = np.full(2, 10.0)  # deviations of a prior that keeps a fit finite where none is wrong

Row = dict  # one reader: portal, images, seed, and its figures


def trained(portal: Portal, images: int, seed: int, pool: Path, out: Path) -> Path:
    """The folder of the run, which is made if it is not there."""
    folder = out / f"{portal.name}_{images}_{seed}"
    if not (folder / "run" / HELD_OUT).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        few = chosen(pool, images, seed, folder / "images")
        run(
            *("training.captcha.train", "--images", few, "--start", START, "--seed", seed),
            *("--out", folder / "run"),
        )
    return folder


def measured(folder: Path, pool: Path) -> Row:
    """How a run's reader reads the images of the pool that it did not learn from."""
    with np.load(folder / "run" / HELD_OUT) as saved:
        logits, labels = saved["logits"], saved["labels"]
    seen = {path.name for path in (folder / "images").iterdir()}
    every = load(pool)
    others = every.subset(np.flatnonzero([name not in seen for name in every.names]))
    raw = logits_of(load_reader(folder / "run" / "best.pt"), others.pixels).numpy()
    points = {
        precision: temperature_and_point(logits, labels, precision) for precision in PRECISIONS
    }
    temperature = points[PRECISIONS[0]][0]
    found, confidence = readings(raw / temperature)
    right = (found == others.labels).all(1)
    slope, offset = fitted_line(log_odds(confidence), right, np.array((1.0, 0.0)), FLAT)
    row = {"others": len(others), "right": right.mean(), "temperature": temperature}
    row |= {"slope": float(slope), "offset": float(offset)}
    for precision, (_, point) in points.items():
        sure = confidence >= point.threshold
        row[f"answered at {precision}"] = sure.mean()
        row[f"wrong at {precision}"] = int((sure & ~right).sum())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="numbers of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portals", nargs="+", help="some of the half")
    parser.add_argument("--drawn", type=Path, default=Path("runs/portals"), help="kept images")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    of_half = portals(LOOK)
    rows: list[Row] = []
    plan = [(name, images) for images in args.images for name in args.portals or of_half]
    for name, images in tqdm(plan, desc="portals", unit="run"):
        pool = draw(of_half[name], args.drawn / LOOK / name, DRAWN, seed=0)
        folder = trained(of_half[name], images, args.seed, pool, args.out)
        rows.append({"portal": name, "images": images, "seed": args.seed} | measured(folder, pool))
        tqdm.write(json.dumps(rows[-1]))
    scatter = {}
    for key in ("slope", "offset"):
        values = [row[key] for row in rows]
        scatter[key] = {"mean": fmean(values), "deviation": pstdev(values)}
    report = {"scatter": scatter, "runs": rows, "command": command(), "machine": machine()}
    (args.out / "calibration.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(scatter, indent=1))


if __name__ == "__main__":
    main()
