"""Real-sized input with the answers that are expected for it.

A folder that benchmarks.speed.make_corpus wrote: files, and corpus.json that says what each is and
what is right. Read by the load generators, so it imports neither models nor page generators.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from countersign import Detections, Reading
from server.readiness import overlap

# What a file is -> its share of the mix
SHARES = {
    "a4_150_jpeg": 0.30,
    "a4_300_jpeg": 0.15,
    "a4_300_tiff": 0.10,
    "a4_150_png": 0.10,
    "phone_12mp": 0.05,
    "page_640": 0.10,
    "captcha": 0.20,
}
MIX = "mix"
OVERLAP_MIN = 0.8  # intersection over union of an answered box and the expected one
SCORE_GAP = 0.05  # largest difference of their scores


@dataclass(frozen=True)
class Box:
    """One expected signature or stamp."""

    label: str
    score: float
    xyxy: tuple[float, float, float, float]  # pixels of the page
    sure: bool  # far enough above the threshold that it must be found


@dataclass(frozen=True)
class Sample:
    """One file to send and what is right for it: `text` of a CAPTCHA, else `boxes`."""

    name: str
    kind: str
    text: str | None = None
    boxes: tuple[Box, ...] = ()


def save(folder: Path, samples: Sequence[Sample]) -> None:
    """Write corpus.json into the folder."""
    rows = [asdict(sample) for sample in samples]
    (folder / "corpus.json").write_text(json.dumps(rows, indent=1) + "\n")


def load(folder: Path, kind: str = MIX) -> list[Sample]:
    """The samples of one kind, or all. ValueError if there are none, with the folder."""
    rows = json.loads((folder / "corpus.json").read_text())
    samples = [
        Sample(row["name"], row["kind"], row["text"], tuple(_box(box) for box in row["boxes"]))
        for row in rows
        if kind in (MIX, row["kind"])
    ]
    if not samples:
        raise ValueError(f"{folder}: no sample of kind {kind!r}, known are {', '.join(SHARES)}")
    return samples


def _box(row: dict) -> Box:
    return Box(row["label"], row["score"], tuple(row["xyxy"]), row["sure"])


def drawn(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    """Samples without end, each kind by its share of the mix, each file of a kind alike."""
    rng = random.Random(seed)
    kinds = sorted({sample.kind for sample in samples})
    by_kind = {kind: [sample for sample in samples if sample.kind == kind] for kind in kinds}
    while True:
        (kind,) = rng.choices(kinds, [SHARES[kind] for kind in kinds])
        yield rng.choice(by_kind[kind])


def mistake(sample: Sample, answer: Detections | Reading) -> str:
    """What is wrong with an answer, in words; nothing if it is right."""
    if isinstance(answer, Reading):
        wrong = answer.text != sample.text
        return f"{sample.name}: read {answer.text}, expected {sample.text}" if wrong else ""
    found = [Box(each.label, each.score, each.box, True) for each in answer]
    for box in found:
        if not any(agree(box, expected) for expected in sample.boxes):
            return f"{sample.name}: {box.label} {box.score:.2f} at {box.xyxy}, none expected"
    for expected in sample.boxes:
        if expected.sure and not any(agree(box, expected) for box in found):
            return f"{sample.name}: no {expected.label} {expected.score:.2f} at {expected.xyxy}"
    return ""


def agree(a: Box, b: Box) -> bool:
    """Whether two boxes are one but for rounding."""
    close = abs(a.score - b.score) <= SCORE_GAP
    return a.label == b.label and close and overlap(a.xyxy, b.xyxy) >= OVERLAP_MIN
