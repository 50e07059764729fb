"""The CAPTCHA reader on portals of other makers, by the number of labelled images, as served.

    python -m benchmarks.captcha_portals --half look --out REPORT

For each portal of the half, each number of images and each seed: trains and exports with the
commands of docs/captcha.md, starts a server on what comes out, and asks it for other images of the
portal with the project's client. Without images, the shipped reader is asked. REPORT gets
portals.json, which every run is written into as it ends, and portals.md. Called again, it goes on.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from tqdm import tqdm

from benchmarks.accuracy.captcha import ask
from benchmarks.captcha_portals.portals import FINAL, LOOK, MakerError, Portal, draw, portals
from benchmarks.machine import command, machine
from countersign import Client, Reading
from export.thresholds import precision_interval
from inprocess import Reader
from inprocess.repository import REPOSITORY
from server import Server, Settings
from server.settings import SAMPLES
from training.captcha.images import named_labels

START = Path("training/captcha/start.pt")
IMAGES = (0, 250, 500, 4000)
DRAWN = 4500  # to choose a seed's images from
TESTED = 2000
MEAN = "all"  # beside the portals' names
TEST_SEED = 1  # of the drawing; what is trained on is drawn with 0

Row = dict  # one run: portal, images, seed, and its figures


def chosen(folder: Path, count: int, seed: int, into: Path) -> Path:
    """A folder of links to `count` of the images, which differ from seed to seed."""
    into.mkdir()
    for name in random.Random(seed).sample(sorted(named_labels(folder)), count):
        (into / name).symlink_to((folder / name).resolve())
    return into


def run(*words: object) -> float:
    """Runs a module of this project; returns the seconds it took. RuntimeError if it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise RuntimeError(f"python -m {' '.join(map(str, words))}: exit {done.returncode}")
    return time.monotonic() - began


def trained(images: Path, test: Path, seed: int, work: Path, train: Sequence[str]) -> Row:
    """Leaves a repository in work/repository whose reader is trained on the images."""
    shutil.copytree(REPOSITORY, work / "repository", ignore=shutil.ignore_patterns("document_*"))
    checkpoint = work / "run" / "best.pt"
    train_s = run(
        *("training.captcha.train", "--images", images, "--start", START, "--seed", seed),
        *("--out", checkpoint.parent, *train),
    )
    export_s = run(
        *("export.captcha", checkpoint, "--test", test),
        *("--repository", work / "repository"),
    )
    return {"train_s": round(train_s, 1), "export_s": round(export_s, 1)}


def figures(read: Callable[[bytes], Reading], folder: Path, count: int) -> Row:
    """What the first `count` images of a folder are read as."""
    labels = list(named_labels(folder).items())[:count]
    answers = [
        ask(read, label, (folder / name).read_bytes())
        for name, label in tqdm(labels, desc="reads", unit="image", leave=False)
    ]
    right = [answer.reading.text == answer.label for answer in answers]
    certain = [bool(answer.reading.certain) for answer in answers]
    return {
        "asked": len(answers),
        "right": sum(right) / len(answers),
        "answered": sum(certain) / len(answers),
        "answers": sum(certain),
        "wrong": sum(sure and not good for sure, good in zip(certain, right, strict=True)),
        "p50_ms": round(median(answer.latency_ms for answer in answers), 2),
    }


def sample(images: Path, repository: Path, into: Path) -> Path:
    """A folder of samples: the first of the images that the repository's reader reads right.

    With the shipped samples, which show another portal, the server would go back to the version
    before. RuntimeError if the reader reads none right.
    """
    reader = Reader(repository)
    for name, label in named_labels(images).items():
        if reader.read((images / name).read_bytes())["text"][0] == label:
            into.mkdir()
            shutil.copy(images / name, into)
            (into / "captchas.json").write_text(json.dumps({name: label}))
            return into
    raise RuntimeError("not one of the images that it was trained on is read right")


def served(repository: Path, samples: Path, test: Path, count: int) -> Row:
    """`figures` through a server of the repository that has these samples."""
    settings = Settings(
        repository=repository, samples=samples, http_port=0, grpc_port=0, metrics_port=0
    )
    with Server(settings) as server, Client(server.grpc_url) as client:
        return figures(client.read, test, count)


def measured(
    portal: Portal, images: int, seed: int, drawn: Path, tested: int, train: Sequence[str]
) -> Row:
    """One run's row."""
    folder = drawn / portal.half
    test = draw(portal, folder / f"{portal.name}_test", tested, TEST_SEED)
    row = {"portal": portal.name, "images": images, "seed": seed}
    if not images:
        return row | served(REPOSITORY, SAMPLES, test, tested)
    pool = draw(portal, folder / portal.name, max(DRAWN, images), seed=0)
    with TemporaryDirectory() as work:
        few = chosen(pool, images, seed, Path(work) / "images")
        took = trained(few, test, seed, Path(work), train)
        repository = Path(work) / "repository"
        samples = sample(few, repository, Path(work) / "samples")
        return row | served(repository, samples, test, tested) | took


def wrong_share(rows: Sequence[Row]) -> dict[str, float | list[float] | int]:
    """Wrong among answered of all rows together, with Clopper and Pearson's 95 % interval."""
    wrong, answers = sum(row["wrong"] for row in rows), sum(row["answers"] for row in rows)
    if not answers:
        return {"wrong": 0, "answers": 0, "share": 0.0, "interval": [0.0, 1.0]}
    lower, upper = precision_interval(wrong, answers)
    interval = [float(lower), float(upper)]
    return {"wrong": wrong, "answers": answers, "share": wrong / answers, "interval": interval}


def mean(rows: Sequence[Row]) -> Row:
    """The figures of several runs as one. Runs of one portal count as one of all portals."""
    names = {row["portal"]: None for row in rows}
    of_portals = [[row for row in rows if row["portal"] == name] for name in names]
    return {
        "runs": len(rows),
        "right": fmean(fmean(row["right"] for row in runs) for runs in of_portals),
        "answered": fmean(fmean(row["answered"] for row in runs) for runs in of_portals),
        "wrong among answered": wrong_share(rows),
    }


def means(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """By number of images: the mean of each portal, and of all."""
    found: dict[str, dict[str, Row]] = {}
    for images in sorted({row["images"] for row in rows}):
        these = [row for row in rows if row["images"] == images]
        names = {row["portal"]: None for row in these}
        each = {name: mean([row for row in these if row["portal"] == name]) for name in names}
        found[str(images)] = {**each, MEAN: mean(these)}
    return found


def table(found: dict[str, dict[str, Row]]) -> str:
    """The means as Markdown, a row for each portal and number of images."""
    lines = [
        "| images | portal | right | answered | wrong among answered |",
        "|---|---|---|---|---|",
    ]
    for images, of_all in found.items():
        for name, row in of_all.items():
            wrong = row["wrong among answered"]
            low, high = wrong["interval"]
            lines.append(
                f"| {images} | {name} | {row['right']:.2%} | {row['answered']:.2%} | "
                f"{wrong['share']:.3%} ({low:.3%} to {high:.3%}; {wrong['wrong']} of "
                f"{wrong['answers']}) |"
            )
    return "\n".join(lines) + "\n"


def write(rows: Sequence[Row], half: str, out: Path) -> None:
    found = means(rows)
    report = {"half": half, "means": found, "runs": rows, "command": command()}
    (out / "portals.json").write_text(json.dumps(report | {"machine": machine()}, indent=1) + "\n")
    (out / "portals.md").write_text(table(found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=[LOOK, FINAL], default=LOOK)
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="numbers of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tested", type=int, default=TESTED, help="other images that are asked")
    parser.add_argument("--portals", nargs="+", help="some of the half, for a look")
    parser.add_argument("--drawn", type=Path, default=Path("runs/portals"), help="kept images")
    parser.add_argument("--train", nargs="+", default=[], metavar="OPTION=VALUE", help="to try one")
    args = parser.parse_args()
    of_half = portals(args.half)
    if unknown := set(args.portals or ()) - of_half.keys():
        parser.error(f"--portals: {', '.join(unknown)}; the half has {', '.join(of_half)}")
    args.out.mkdir(parents=True, exist_ok=True)
    report = args.out / "portals.json"
    rows = json.loads(report.read_text())["runs"] if report.exists() else []
    done = {(row["portal"], row["images"], row["seed"]) for row in rows}
    plan = [
        (portal, images, seed)
        for images in args.images
        for seed in (args.seeds if images else args.seeds[:1])  # nothing is drawn without training
        for portal in args.portals or of_half
        if (portal, images, seed) not in done
    ]
    train = [f"--{option}" for option in args.train]
    for name, images, seed in tqdm(plan, desc="portals", unit="run"):
        try:
            row = measured(of_half[name], images, seed, args.drawn, args.tested, train)
        except (MakerError, RuntimeError) as error:
            sys.exit(f"captcha_portals: {error}")
        rows.append(row)
        write(rows, args.half, args.out)
        tqdm.write(json.dumps(row))
    print(report.with_suffix(".md").read_text() if rows else "nothing to do")


if __name__ == "__main__":
    main()
