"""How well CAPTCHAs are read as served: clean held-out images, and the same images shifted.

    python -m benchmarks.accuracy.captcha --images DIR --out REPORT [--url 127.0.0.1:8001]

asks the running server for every image, one after the other, with the project's client. REPORT gets
captcha.json and reliability.png. Images are labelled as for training (482913_17.png).
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from tqdm import tqdm

from benchmarks.machine import command, machine
from countersign import Client, Reading
from inprocess import Reader
from server import Settings
from training.captcha.images import named_labels

matplotlib.use("Agg")
from matplotlib import pyplot

BINS = 10  # of confidence, in the reliability plot


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """The image at another screenshot scale."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def moved(image: np.ndarray, right: int, down: int) -> np.ndarray:
    """The image shifted by whole pixels; what comes into view repeats the edge."""
    place = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(image, place, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def tinted(image: np.ndarray) -> np.ndarray:
    """The image as a warm display shows it: less blue, a little more red. BGR."""
    return np.clip(image * np.array([0.75, 1, 1.1]), 0, 255).astype(np.uint8)


def flattened(image: np.ndarray, contrast: float) -> np.ndarray:
    """The image with its values drawn towards the middle grey."""
    return np.rint(128 + (image - 128.0) * contrast).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


# Each takes the image as (H, W, 3) uint8 BGR to the file that is sent.
SHIFTS: dict[str, Callable[[np.ndarray], bytes]] = {
    "clean": png,
    "scale 1.5": lambda image: png(scaled(image, 1.5)),
    "scale 0.75": lambda image: png(scaled(image, 0.75)),
    "JPEG quality 40": lambda image: jpeg(image, 40),
    "colour cast": lambda image: png(tinted(image)),
    "5 px right": lambda image: png(moved(image, 5, 0)),
    "5 px left": lambda image: png(moved(image, -5, 0)),
    "5 px down": lambda image: png(moved(image, 0, 5)),
    "5 px up": lambda image: png(moved(image, 0, -5)),
    "blur, sigma 1": lambda image: png(cv2.GaussianBlur(image, (0, 0), 1)),
    "contrast 0.5": lambda image: png(flattened(image, 0.5)),
}


@dataclass(frozen=True)
class Answer:
    """One image's reading and the time it took."""

    label: str
    reading: Reading
    latency_ms: float


def ask(read: Callable[[bytes], Reading], label: str, image: bytes) -> Answer:
    start = time.perf_counter()
    reading = read(image)
    return Answer(label, reading, (time.perf_counter() - start) * 1000)


def read_colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 BGR. ValueError naming the file if OpenCV cannot read it."""
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, no image that OpenCV reads")
    return image


def summary(answers: list[Answer]) -> dict[str, float]:
    """What one set of images came to. "answered" are those at or above the operating point."""
    right = np.array([answer.reading.text == answer.label for answer in answers])
    certain = np.array([answer.reading.certain for answer in answers], bool)
    digits = [
        read == true
        for answer in answers
        for read, true in zip(answer.reading.text, answer.label, strict=True)
    ]
    return {
        "images": len(answers),
        "exact_match": float(right.mean()),
        "digit_accuracy": float(np.mean(digits)),
        "abstained": float((~certain).mean()),
        "right_of_answered": float(right[certain].mean()) if certain.any() else 0.0,
        "wrong_answers": int((certain & ~right).sum()),
        "latency_p50_ms": float(np.median([answer.latency_ms for answer in answers])),
    }


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Mean confidence, share right and count of each of BINS equal bins of confidence.

    confidence (N,) in [0, 1], right (N,) bool. Empty bins are left out.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "right": float(right[bins == number].mean()),
            "count": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Mean distance of confidence and share right over the answers (ECE, arXiv 1706.04599)."""
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["confidence"] - row["right"]) for row in rows) / total


def draw_reliability(rows: list[dict[str, float]], path: Path) -> None:
    """Share right over confidence, with the number of readings at each point, as a PNG."""
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="as sure as right")
    points = [(row["confidence"], row["right"]) for row in rows]
    axes.plot(*zip(*points, strict=True), marker="o", label="all sets")
    for row, point in zip(rows, points, strict=True):
        axes.annotate(str(row["count"]), point, xytext=(6, -12), textcoords="offset points")
    axes.set(
        xlabel="confidence in the text", ylabel="share right", xlim=(0, 1.12), ylim=(-0.08, 1.05)
    )
    axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def measure(
    read: Callable[[bytes], Reading], labels: dict[Path, str], shifts: Iterable[str] = SHIFTS
) -> dict[str, list[Answer]]:
    """Every image through `read` in every shift."""
    return {
        name: [
            ask(read, label, SHIFTS[name](read_colour(path)))
            for path, label in tqdm(labels.items(), desc=name, unit="image")
        ]
        for name in shifts
    }


def compare_latency(
    served: Callable[[bytes], object],
    alone: Callable[[bytes], object],
    images: Sequence[bytes],
    rounds: int = 10,
) -> dict[str, float]:
    """p50 of both in ms, in turn over the same images, and the ratio's median and spread."""
    for image in images:  # both warm
        served(image), alone(image)
    blocks = [[_p50(read, images) for read in (served, alone)] for _ in range(rounds)]
    ratios = [a / b for a, b in blocks]
    return {
        "served_p50_ms": float(np.median([block[0] for block in blocks])),
        "in_process_p50_ms": float(np.median([block[1] for block in blocks])),
        "ratio": float(np.median(ratios)),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
    }


def _p50(read: Callable[[bytes], object], images: Sequence[bytes]) -> float:
    times = []
    for image in images:
        start = time.perf_counter()
        read(image)
        times.append((time.perf_counter() - start) * 1000)
    return float(np.median(times))


def report(answers: dict[str, list[Answer]]) -> dict:
    """Figures of each set and the reliability over all of them."""
    every = [answer for answers_of_set in answers.values() for answer in answers_of_set]
    rows = reliability(
        np.array([answer.reading.confidence for answer in every]),
        np.array([answer.reading.text == answer.label for answer in every]),
    )
    return {
        "sets": {name: summary(of_set) for name, of_set in answers.items()},
        "reliability": rows,
        "calibration_error": calibration_error(rows),
    }


def print_row(name: str, figures: dict[str, float]) -> None:
    print(f"{name:16}", *(f"{key} {value:.4g}" for key, value in figures.items()), sep="  ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, nargs="+", help="labelled folders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--url", default="127.0.0.1:8001", help="the server's gRPC address")
    parser.add_argument(
        "--repository", type=Path, default=Settings().repository, help="what it serves"
    )
    args = parser.parse_args()
    labels = {
        folder / name: label
        for folder in args.images
        for name, label in named_labels(folder).items()
    }
    with Client(args.url) as client:
        found = report(measure(client.read, labels))
        few = [path.read_bytes() for path in list(labels)[:200]]
        found["latency"] = compare_latency(client.read, Reader(args.repository).read, few)
    found |= {"command": command(), "machine": machine()}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "captcha.json").write_text(json.dumps(found, indent=2) + "\n")
    draw_reliability(found["reliability"], args.out / "reliability.png")
    for name, figures in found["sets"].items():
        print_row(name, figures)
    print_row("one client", found["latency"])


if __name__ == "__main__":
    main()
