"""Every detector of the running server on the same labelled pages: accuracy against latency.

    python -m benchmarks.accuracy.compare --pages DIR... --out REPORT [--url 127.0.0.1:8001]

asks each for every page with the project's client. REPORT gets compare.json and compare.png: AP50,
and recall at the detector's own operating point, over the median of the time that one client waits
for a page. A class counts where the pages have boxes of it and the detector knows it.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.detector import LOWEST_SCORE, as_found, summary
from benchmarks.machine import command, machine
from countersign import Client, Model
from training.detector.labels import Labelled
from training.detector.score import read_kinds, score

matplotlib.use("Agg")
from matplotlib import pyplot

WARM_UP = 3  # requests before the clock counts


def compared(client: Client, model: Model, pages: Sequence[Labelled]) -> dict:
    """One detector's figures, per class and in the mean, and what a page takes in ms."""
    thresholds = dict(model.confidence) if isinstance(model.confidence, dict) else {}
    for page in pages[:WARM_UP]:
        client.detect(page.path, model=model.name)
    found, times = [], []
    for page in tqdm(pages, desc=model.name, unit="page"):
        image = page.path.read_bytes()
        began = time.perf_counter()
        client.detect(image, model=model.name)
        times.append((time.perf_counter() - began) * 1000)
        found.append(as_found(client.detect(image, confidence=LOWEST_SCORE, model=model.name)))
    scores = {name: each for name, each in score(pages, found).items() if each.boxes}
    classes = summary({name: scores[name] for name in scores if name in thresholds}, thresholds)
    rows = list(classes.values())
    return {
        "model": model.name,
        "version": model.version,
        "ap50": float(np.mean([row["ap50"] for row in rows])) if rows else None,
        "recall": float(np.mean([row["recall"] for row in rows])) if rows else None,
        "precision": float(np.mean([row["precision"] for row in rows])) if rows else None,
        "latency_ms": {"median": float(np.median(times)), "p95": float(np.percentile(times, 95))},
        "classes": classes,
    }


def draw(rows: Sequence[dict], target: Path) -> None:
    """Two panels with a named dot for each detector: up and to the left is better."""
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 5), sharex=True)
    for axes, key, label in zip(
        panels, ("ap50", "recall"), ("AP50", "recall at the operating point"), strict=True
    ):
        for row in rows:
            if row[key] is not None:
                place = (row["latency_ms"]["median"], row[key])
                axes.plot(*place, "o")
                axes.annotate(row["model"], place, xytext=(5, 4), textcoords="offset points")
        axes.set(xlabel="ms a page, one client, median", ylabel=label, ylim=(0, 1.03))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--split", default="validation", help="of folders that say their splits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", default="127.0.0.1:8001", help="host:port of the gRPC endpoint")
    args = parser.parse_args()
    kinds = read_kinds(args.pages, args.split)
    pages = [page for those in kinds.values() for page in those]
    args.out.mkdir(parents=True, exist_ok=True)
    with Client(args.url) as client:
        detectors = [model for model in client.models() if isinstance(model.confidence, dict)]
        rows = [compared(client, model, pages) for model in detectors]
    report = {"pages": len(pages), "models": rows, "command": command(), "machine": machine()}
    (args.out / "compare.json").write_text(json.dumps(report, indent=2) + "\n")
    draw(rows, args.out / "compare.png")
    print(f"{'model':24} {'AP50':>6} {'recall':>6} {'prec.':>6} {'ms':>7}")
    for row in rows:
        figures = [row[key] for key in ("ap50", "recall", "precision")]
        texts = ["     -" if value is None else f"{value:6.3f}" for value in figures]
        print(f"{row['model']:24} {' '.join(texts)} {row['latency_ms']['median']:7.1f}")


if __name__ == "__main__":
    main()
