"""How often a check of a form is right: generated forms of known truth.

    python -m benchmarks.accuracy.forms --out REPORT [--missing N] [--complete N] [--wrong N]

Forms of one or two pages are drawn, filled in, and scanned as clean, skewed, cropped, photographed,
copied or turned pages. Some are complete. Some lack a mark, with nothing, another mark, a word or a
name in its place. Some are complete papers of another form, or of another edition of the same. Each
is checked twice: with the marks that the shipped detector finds, run in this process, and with
those of a simulated one, which knows what is there and errs as detectors do: misses, parts,
doubtful scores, false alarms below the accept threshold. REPORT gets forms.json, and cases.jsonl
with a line for each document.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import beta
from tqdm import tqdm

from benchmarks.accuracy.paperwork import (
    FAULTS,
    KINDS,
    Blank,
    Scan,
    draw_blank,
    fill,
    write_form,
)
from benchmarks.machine import command, machine
from gateway.forms import (
    Form,
    Mark,
    PageMarks,
    Placement,
    judge,
    open_page,
    place,
    read,
    turned_back,
    upright,
)
from inprocess import Detector
from inprocess.repository import REPOSITORY, parameters
from training.detector.labels import CLASSES

DESIGNS = 16
TWO_PAGES = 0.25  # share of the forms
QUALITY = 85  # of the scans' JPEG
VERDICTS = ("complete", "review", "missing")
Find = Any  # (image file, page, rng) -> list[Mark]; with `upright` if it looks at the image


def thresholds(point: str) -> dict[str, float]:
    """Scores per class of an operating point of the shipped detector: confidence or review."""
    settings = parameters(REPOSITORY / "document_postprocess")
    return {label: float(settings[f"{point}_{label}"]) for label in CLASSES}


def real(detector: Detector) -> Find:
    """What the shipped detector finds on a page; it looks at the picture alone."""

    def find(image: bytes, page: Scan | None = None, rng: Any = None) -> list[Mark]:
        found = detector.detect(image, operating_point="review")
        return [
            Mark(str(label), float(score), tuple(map(float, box)))  # type: ignore[arg-type]
            for label, score, box in zip(
                found["labels"], found["scores"], found["boxes"], strict=True
            )
        ]

    find.upright = find  # type: ignore[attr-defined]
    return find


def simulated(accept: dict[str, float], review: dict[str, float]) -> Find:
    """What a detector finds that knows what is there, and errs.

    Of the marks 80 % are sure, 12 % doubtful, the others not found; 5 % come in two parts, both
    sure; boxes are off by a few per cent. A page has one false alarm on average, below `accept`.
    """

    def find(image: bytes, page: Scan, rng: np.random.Generator) -> list[Mark]:
        height, width = page.pixels.shape[:2]
        marks = []
        for mark in page.marks:
            box = page.box(mark)
            size = box[2:] - box[:2]
            luck = rng.random()
            if luck > 0.92 or min(size) < 8:
                continue
            low, high = (accept, None) if luck < 0.8 else (review, accept)
            score = float(rng.uniform(low[mark.label], high[mark.label] if high else 1.0))
            box = box + rng.normal(0, 0.03, 4) * np.tile(size, 2)
            parts = [box]
            if rng.random() < 0.05:  # as two marks side by side
                middle = (box[0] + box[2]) / 2
                parts = [
                    box * (1, 1, 0, 1) + (0, 0, middle, 0),
                    box * (0, 1, 1, 1) + (middle, 0, 0, 0),
                ]
            for part in parts:
                edges = part.clip(0, (width, height, width, height))
                marks.append(Mark(mark.label, score, tuple(map(float, edges))))  # type: ignore
        for _ in range(rng.poisson(1.0)):
            label = str(rng.choice(CLASSES))
            corner, size = rng.uniform(0, 0.9, 2) * (width, height), rng.uniform(40, 250, 2)
            score = float(rng.uniform(review[label], accept[label]))
            marks.append(Mark(label, score, (*corner, *(corner + size))))  # type: ignore
        return marks

    return find


class Case:
    """One document, and what must not be said of it."""

    def __init__(self, index: int, truth: str, seed: int, forms: Sequence["Drawn"]):
        rng = np.random.default_rng((seed, VERDICTS.index("missing") + len(truth), index))
        self.truth = truth
        self.kind = list(KINDS)[index % len(KINDS)]
        self.form = forms[int(rng.integers(len(forms)))]
        blanks = self.form.blanks
        self.fault = FAULTS[(index // len(KINDS)) % len(FAULTS)] if truth == "missing" else ""
        if truth == "wrong":
            self.fault = ("another form", "another edition")[index // len(KINDS) % 2]
            revised = self.fault == "another edition"
            others = self.form.revised if revised else forms[int(rng.integers(len(forms)))].blanks
            if others is blanks:
                others = forms[(forms.index(self.form) + 1) % len(forms)].blanks
            blanks = others
        spoilt = int(rng.integers(len(blanks))) if truth == "missing" else -1
        self.pages = []
        for i, blank in enumerate(blanks):
            field = int(rng.integers(len(blank.fields)))
            fault = self.fault if i == spoilt else ""
            self.pages.append(fill(blank, self.kind, rng, fault, field))


class Drawn:
    """A form: its blank pages, those of another edition, and as the gateway reads it."""

    def __init__(self, number: int, folder: Path):
        rng = np.random.default_rng((7203, number))
        designs = [number] if rng.random() >= TWO_PAGES else [number, 100 + number]
        self.blanks: list[Blank] = [draw_blank(design) for design in designs]
        self.revised = [draw_blank(design, revised=True) for design in designs]
        self.form: Form = read(write_form(folder, f"form{number}", self.blanks))


def measure(
    cases: Sequence[tuple[int, str]], forms: Sequence[Drawn], seed: int
) -> Iterator[dict[str, Any]]:
    """Each case's verdicts: one row a case."""
    accept, review = thresholds("confidence"), thresholds("review")
    finders = {
        "detector": real(Detector(REPOSITORY, threads=1)),
        "simulated": simulated(accept, review),
    }
    for index, truth in tqdm(cases, desc="forms", unit="form"):
        case = Case(index, truth, seed, forms)
        images = [jpeg(page.pixels) for page in case.pages]
        began = time.perf_counter()
        pages = [
            PageMarks(number, page.pixels.shape[1], page.pixels.shape[0], (), open_page(image))
            for number, (image, page) in enumerate(zip(images, case.pages, strict=True), 1)
        ]
        places = place(case.form.form, pages)
        row: dict[str, Any] = {
            "truth": truth, "kind": case.kind, "fault": case.fault, "index": index,
            "form": case.form.form.name,
            "ms": round(1000 * (time.perf_counter() - began) / len(pages), 1),
            "matched": all(each.registration is not None for each in places),
        }  # fmt: skip
        for name, find in finders.items():
            rng = np.random.default_rng((seed, index, len(truth)))
            marked = [
                replace(page, marks=find(image, scanned, rng))
                for page, image, scanned in zip(pages, images, case.pages, strict=True)
            ]
            laid = [
                replace(each, page=looked_at(each, marked[each.page.page - 1], images, find))
                if each.page is not None
                else each
                for each in places
            ]
            answer = judge(case.form.form, marked, laid, accept)
            row[name], row[f"{name} why"] = answer.verdict, answer.why
        yield row


def looked_at(placed: Placement, page: PageMarks, images: Sequence[bytes], find: Find) -> PageMarks:
    """The page with its marks; a turned one is looked at upright by the detector, as served."""
    laid = placed.registration
    if laid is None or not laid.turned or not hasattr(find, "upright"):
        return page
    turned, size = laid.turned, (page.width, page.height)
    marks = find.upright(upright(images[page.page - 1], 1, turned))
    return replace(
        page, marks=[replace(mark, box=turned_back(mark.box, turned, size)) for mark in marks]
    )


def jpeg(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> a file."""
    coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return coded.tobytes()


def rate(part: int, whole: int) -> dict[str, Any]:
    """A share with its 95 % interval (Clopper and Pearson)."""
    low = float(beta.ppf(0.025, part, whole - part + 1)) if part else 0.0
    high = float(beta.ppf(0.975, part + 1, whole - part)) if part < whole else 1.0
    share = part / whole if whole else float("nan")
    return {"count": part, "of": whole, "share": round(share, 4),
            "interval": [round(low, 4), round(high, 4)]}  # fmt: skip


def summary(rows: Sequence[dict]) -> dict[str, Any]:
    """The two figures that count, and verdicts by kind of scan and by fault."""
    report: dict[str, Any] = {}
    for name in ("detector", "simulated"):
        of = {truth: [row for row in rows if row["truth"] == truth]
              for truth in ("complete", "missing", "wrong")}  # fmt: skip
        said = {truth: Counter(row[name] for row in some) for truth, some in of.items()}
        report[name] = {
            "false complete, a mark missing": rate(said["missing"]["complete"], len(of["missing"])),
            "false complete, another form": rate(said["wrong"]["complete"], len(of["wrong"])),
            "complete, not said to be missing": rate(
                len(of["complete"]) - said["complete"]["missing"], len(of["complete"])
            ),
            "complete, said to be": rate(said["complete"]["complete"], len(of["complete"])),
            "missing, said to be": rate(said["missing"]["missing"], len(of["missing"])),
            "rows": [
                {"truth": truth, by: value, **{verdict: counts[verdict] for verdict in VERDICTS}}
                for truth, some in of.items()
                for by in ("kind", "fault")
                for value in sorted({row[by] for row in some} - {""})
                for counts in [Counter(row[name] for row in some if row[by] == value)]
            ],
        }
    times = [row["ms"] for row in rows] or [0.0]
    report["ms a page"] = {
        "median": float(np.median(times)),
        "p95": float(np.quantile(times, 0.95)),
    }
    return report


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = []
    for name in ("detector", "simulated"):
        lines.append(name)
        for title, figure in report[name].items():
            if title != "rows":
                low, high = figure["interval"]
                lines.append(
                    f"  {title:34} {figure['count']:5} of {figure['of']:5}  {figure['share']:.3f} "
                    f"({low:.3f} to {high:.3f})"
                )
        lines.append(f"  {'':28} {'complete':>9} {'review':>7} {'missing':>8}")
        for row in report[name]["rows"]:
            title = f"{row['truth']}: {row.get('kind', row.get('fault'))}"
            lines.append(f"  {title:28} {row['complete']:9} {row['review']:7} {row['missing']:8}")
    lines.append(f"ms a page: {report['ms a page']}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--missing", type=int, default=1000, help="forms that lack a mark")
    parser.add_argument("--complete", type=int, default=1000, help="complete forms")
    parser.add_argument("--wrong", type=int, default=300, help="complete papers of another form")
    parser.add_argument("--forms", type=int, default=DESIGNS, help="different forms")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {truth: getattr(args, truth) for truth in ("complete", "missing", "wrong")}
    # in turns, so that a run that is stopped has something of each
    cases = [
        (index, truth)
        for index in range(max(counts.values()))
        for truth, count in counts.items()
        if index < count
    ]
    with tempfile.TemporaryDirectory() as folder:
        forms = [Drawn(number, Path(folder)) for number in range(args.forms)]
        rows = []
        with (args.out / "cases.jsonl").open("w") as file:
            for row in measure(cases, forms, args.seed):
                rows.append(row)
                print(json.dumps(row), file=file, flush=True)
    report = summary(rows) | {"seed": args.seed, "command": command(), "machine": machine()}
    (args.out / "forms.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
