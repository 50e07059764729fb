"""Blank forms, and filled ones of known truth: which zone holds which mark.

    python -m benchmarks.accuracy.paperwork --out examples/forms

writes the example: a form, its blank page, and two scans in filled/ that the shipped detector gets
right: one complete, one that lacks a signature.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL import Image

from gateway.forms import Mark, PageMarks, check, open_page, read
from inprocess import Detector
from inprocess.repository import REPOSITORY, parameters
from training.detector import scan
from training.detector.labels import CLASSES
from training.detector.pages import designs, handwriting, houses, lookalikes, printed, stamps, text
from training.detector.pages.compose import POOLS
from training.detector.pages.samples import CLEAN
from training.detector.pages.sheet import Sheet, press

HEIGHT = 1754  # px: A4 at 150 dpi
ASPECT = 210 / 297
PLAIN_KINDS = ("round", "oval", "framed", "text", "company", "date")  # of stamps on forms
PEOPLE = ("Applicant", "Co-applicant", "Guarantor", "Witness", "For the bank", "Proxy holder")
OFFICES = ("Stamp of the bank", "Stamp of the employer", "Official stamp")
HEADINGS = ("Loan application", "Account opening", "Direct debit mandate", "Claim", "Guarantee")
FAULTS = ("nothing", "other class", "twice", "beside", "word", "typed")


@dataclass(frozen=True)
class Field:
    """Where a mark is due; lengths in 1/1000 of the page height."""

    name: str
    label: str  # signature or stamp
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def middle(self) -> tuple[float, float]:
        """x, y."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


@dataclass(frozen=True)
class Blank:
    """A blank page."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    fields: tuple[Field, ...]
    entries: tuple[tuple[float, float, float], ...]  # x, y of lines to fill in, and their width


@dataclass(frozen=True)
class Inked:
    """A mark on a page."""

    label: str
    field: str  # the one that it is for, "" if none
    points: np.ndarray  # (n, 2) x, y, px


@dataclass(frozen=True)
class Scan:
    """A filled page as scanned."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    marks: tuple[Inked, ...]

    def box(self, mark: Inked) -> np.ndarray:
        """(4,) xyxy of a mark as far as it is on the page."""
        height, width = self.pixels.shape[:2]
        edges = np.concatenate([mark.points.min(axis=0), mark.points.max(axis=0)])
        return edges.clip(0, (width, height, width, height))


def draw_blank(design: int, revised: bool = False, height: int = HEIGHT) -> Blank:
    """Page number `design`; a revised one has the same head and other places for the marks."""
    rng = np.random.default_rng((7201, design))
    look = houses.look(int(rng.choice(POOLS["test"])))
    look = replace(look, paper=(255, 255, 255), size=min(look.size, 12.5))
    sheet = Sheet(round(height * ASPECT), height, look, rng)
    printed.logo(sheet, sheet.left, 28, float(rng.uniform(28, 45)), rng)
    sheet.write(sheet.right, 34, look.company, 15, look.head, look.accent, "right")
    heading = f"{HEADINGS[rng.integers(len(HEADINGS))]} {text.number(3, rng)}"
    sheet.write(sheet.left, 88, heading, 22, look.head)
    y, entries = 130.0, []
    for _ in range(int(rng.integers(5, 10))):
        columns = int(rng.integers(1, 3))
        step = (sheet.right - sheet.left) / columns
        for i in range(columns):
            x = sheet.left + i * step
            end = sheet.write(x, y, text.sentence(look.language, 2, rng)[:20] + ":", 10)
            sheet.rule(end + 5, y + 13, x + step - 10, y + 13, 0.5)
            entries.append((end + 8, y - 4, x + step - end - 20))
        y += 27
    if rng.random() < 0.6:
        y = houses.table(sheet, y + 6, int(rng.integers(3, 6)), rng)
    while y < 560:
        y = sheet.paragraph(y + 8, int(rng.integers(2, 6)))
    layout = np.random.default_rng((7202, design, int(revised)))
    fields = _fields(sheet, max(y + 12, 590.0), layout)
    sheet.write(sheet.width / 2, 965, f"{look.company}, {text.address(rng)}", 7.5, align="centre")
    return Blank(np.array(sheet.image), tuple(fields), tuple(entries))


def _fields(sheet: Sheet, y: float, rng: np.random.Generator) -> list[Field]:
    """Two to four places for marks, in one or two rows from y down, with their captions."""
    people, offices = list(rng.permutation(PEOPLE)), list(rng.permutation(OFFICES))
    rows = [list(row) for row in ((("s", "s"), ("o",)), (("s", "o"),), (("s",), ("s", "o")),
            (("s", "s"), ("o", "s")), (("o", "s"),), (("s", "s"),))[rng.integers(6)]]  # fmt: skip
    fields = []
    y += float(rng.uniform(10, 60))
    for row in rows:
        step = (sheet.right - sheet.left) / len(row)
        for i, kind in enumerate(row):
            x = sheet.left + i * step + (step - 230) * float(rng.uniform(0.1, 0.9)) * (step > 230)
            width = min(230.0, step - 20)
            if kind == "s":
                name = str(people.pop())
                sheet.rule(x, y + 88, x + width, y + 88)
                sheet.write(x, y + 92, name, 9)
                fields.append(Field(name, "signature", x, y + 12, x + width, y + 98))
            else:
                name = str(offices.pop())
                sheet.box(x, y, x + width, y + 120, width=0.6)
                sheet.write(x + 4, y + 108, name, 8)
                fields.append(Field(name, "stamp", x, y, x + width, y + 120))
        y += 150
    return fields


def write_form(folder: Path, name: str, blanks: Sequence[Blank]) -> Path:
    """The form that `blanks` are the pages of, with their images, in a folder."""
    pages = []
    for number, blank in enumerate(blanks, 1):
        file = f"{name}-{number}.png"
        Image.fromarray(blank.pixels).convert("L").quantize(16).save(folder / file, optimize=True)
        scale = np.array([ASPECT * 1000, 1000] * 2)
        zones = [
            {"name": f"{field.name} {number}", "class": field.label,
             "box": [round(float(edge), 4) for edge in
                     np.array([field.x0, field.y0, field.x1, field.y1]) / scale]}
            for field in blank.fields
        ]  # fmt: skip
        pages.append({"page": number, "reference": file, "zones": zones})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"pages": pages}, sort_keys=False))
    return path


class Filling:
    """A blank page that is being filled in."""

    def __init__(self, blank: Blank, rng: np.random.Generator):
        self.blank, self.rng = blank, rng
        self.pixels = blank.pixels.copy()
        self.unit = blank.pixels.shape[0] / 1000
        self.marks: list[Inked] = []
        self.hand = handwriting.writer(int(rng.choice(POOLS["test"])))
        self.pen = handwriting.INKS[str(rng.choice(["black", "blue", "navy", "blue"]))]

    def entries(self) -> None:
        """Most lines are filled in, by hand or by a machine."""
        by_hand = self.rng.random() < 0.6
        for x, y, width in self.blank.entries:
            if self.rng.random() < 0.85:
                line = text.person(self.rng) if self.rng.random() < 0.5 else text.date(self.rng)
                self.write(line, x, y, 15 if by_hand else 11, by_hand, width)

    def write(
        self, line: str, x: float, y: float, size: float, by_hand: bool, width: float = 400
    ) -> None:
        """What is no mark."""
        if by_hand:
            ink = lookalikes.jotted(line, size * self.unit, self.unit, self.hand, self.rng)
        else:
            font = text.font(self.blank_font(), round(size * self.unit))
            mask = font.getmask(line)
            ink = np.array(mask, np.float32).reshape(mask.size[::-1]) / 255
        ink = ink[:, : max(1, int(width * self.unit))]
        colour = self.pen if by_hand else (25, 25, 30)
        press(self.pixels, ink, colour, (x * self.unit, y * self.unit))

    def blank_font(self) -> str:
        """A typewriter's."""
        return text.FONTS["typewriter"][int(self.rng.integers(3))]

    def sign(self, field: Field, where: tuple[float, float] | None = None) -> None:
        """A signature in the middle of a field, or of `where`, and no larger than the field."""
        rng, unit = self.rng, self.unit
        hand = handwriting.writer(int(rng.choice(POOLS["test"])))
        wide, high = (field.x1 - field.x0) * unit, (field.y1 - field.y0) * unit
        room = (wide * float(rng.uniform(0.5, 0.9)), high * float(rng.uniform(0.5, 0.9)))
        pen = max(1.0, hand.pen * unit * float(rng.uniform(0.9, 1.3)))
        ink = handwriting.draw(hand, handwriting.signature_plan(hand, rng), room, pen)
        self._press("signature", field, ink, self.pen, float(rng.uniform(0.75, 1.0)), where)

    def stamp(self, field: Field, where: tuple[float, float] | None = None) -> None:
        """A stamp in the middle of a field, or of `where`, and no larger than the field."""
        rng = self.rng
        while True:
            design = designs.design(int(rng.choice(POOLS["test"])))
            if design.kind in PLAIN_KINDS:
                break
        face = stamps.draw(design, self.unit, rng).ink
        wide, high = (field.x1 - field.x0) * self.unit, (field.y1 - field.y0) * self.unit
        scale = min(1.0, 0.95 * wide / face.shape[1], 0.95 * high / face.shape[0])
        ink = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        colour = designs.INKS[design.ink]
        self._press("stamp", field, ink, colour, float(rng.uniform(0.7, 1.0)), where)

    def mark(self, field: Field, where: tuple[float, float] | None = None) -> None:
        """What the field is for."""
        (self.sign if field.label == "signature" else self.stamp)(field, where)

    def _press(self, label, field, ink, colour, strength, where) -> None:  # type: ignore
        size = np.array(ink.shape[::-1])
        room = np.array([field.x1 - field.x0, field.y1 - field.y0]) * self.unit
        loose = (room - size).clip(0) / 2 + 0.05 * room  # a little of it may leave the field
        middle = np.array(field.middle if where is None else where) * self.unit
        corner = middle - size / 2 + self.rng.uniform(-1, 1, 2) * loose
        points = press(self.pixels, ink, colour, tuple(corner), strength)
        if len(points):
            self.marks.append(Inked(label, field.name if where is None else "", points))

    def fault(self, field: Field, kind: str) -> None:
        """A field that is left without its mark; what is there instead is of FAULTS."""
        rng = self.rng
        others = [one for one in self.blank.fields if one.label == field.label and one != field]
        if kind == "other class":
            swapped = replace(field, label="stamp" if field.label == "signature" else "signature")
            self.mark(swapped, field.middle)
        elif kind == "twice" and others:
            other = others[int(rng.integers(len(others)))]
            x, y = other.middle
            self.mark(replace(other, x0=x, name=""), (x + (other.x1 - x) / 2, y))
        elif kind == "beside":
            x = field.x0 + float(rng.uniform(0.3, 0.7)) * (field.x1 - field.x0)
            self.mark(field, (x, field.y0 - 110 if field.y0 > 700 else 480.0))
        elif kind == "word":
            line = lookalikes.jotting(rng) if rng.random() < 0.5 else text.date(rng)
            self.write(line, field.x0 + 15, field.y0 + 30, float(rng.uniform(14, 26)), True)
        elif kind == "typed":
            self.write(text.person(rng), field.x0 + 15, field.y0 + 45, 12, False)

    def scanned(self, kind: str) -> Scan:
        """The page as KINDS[kind] delivers it."""
        pixels, matrix = KINDS[kind](self.pixels, self.rng)
        marks = tuple(
            replace(mark, points=cv2.perspectiveTransform(mark.points[None] + 0.5, matrix)[0])
            for mark in self.marks
        )
        return Scan(pixels, marks)


def fill(
    blank: Blank, kind: str, rng: np.random.Generator, fault: str = "", field: int = 0
) -> Scan:
    """A page with all its marks, as scanned; with a fault, without that of field number `field`."""
    page = Filling(blank, rng)
    page.entries()
    for i, each in enumerate(blank.fields):
        if not fault or i != field:
            page.mark(each)
    if fault:
        page.fault(blank.fields[field], fault)
    return page.scanned(kind)


def _source(source: scan.Source):  # type: ignore
    whole = replace(source, square=0.0, shrink=0.0)
    return lambda pixels, rng: scan.digitise(pixels, whole, rng)


def _skewed(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to 6 degrees off, a little larger or smaller, shifted."""
    height, width = pixels.shape[:2]
    scale = float(rng.uniform(0.9, 1.03))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-6, 6)), scale)
    turn[:, 2] = turn[:, 2] + rng.uniform(-0.02, 0.02, 2) * (width, height)
    matrix = np.vstack([turn, (0, 0, 1)])
    shade = (int(rng.integers(120, 256)),) * 3
    return cv2.warpPerspective(pixels, matrix, (width, height), borderValue=shade), matrix


def _cropped(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to 12 % cut off at each edge."""
    height, width = pixels.shape[:2]
    left, right = (rng.uniform(0, 0.12, 2) * width).astype(int)
    top, foot = (rng.uniform(0, 0.12, 2) * height).astype(int)
    matrix = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    return pixels[top : height - foot, left : width - right].copy(), matrix


def _turned(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """On its side or its head."""
    height, width = pixels.shape[:2]
    quarters = int(rng.integers(1, 4))
    once = np.array([[0, -1, height], [1, 0, 0], [0, 0, 1]], np.float64)
    twice = np.array([[-1, 0, width], [0, -1, height], [0, 0, 1]], np.float64)
    thrice = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]], np.float64)
    turned = np.rot90(pixels, -quarters)
    return np.ascontiguousarray(turned), (once, twice, thrice)[quarters - 1]


KINDS = {
    "clean": _source(CLEAN),
    "skew": _skewed,
    "crop": _cropped,
    "photo": _source(scan.SOURCES["phone"]),
    "flatbed": _source(scan.SOURCES["flatbed"]),
    "copy": _source(scan.SOURCES["archive"]),
    "turned": _turned,
}


EXAMPLE = 99  # its design
SURE = 0.03  # by which scores are above the accept threshold, so that any CPU finds the same
LACKING = 1  # its field that the second scan leaves empty


def write_example(out: Path) -> None:
    """The example form and two scans of it. ValueError if the detector gets none right."""
    detector = Detector(REPOSITORY)
    settings = parameters(REPOSITORY / "document_postprocess")
    accept = {label: float(settings[f"confidence_{label}"]) + SURE for label in CLASSES}
    (out / "filled").mkdir(parents=True, exist_ok=True)
    blank = draw_blank(EXAMPLE)
    drawn = read(write_form(out, "loan", [blank]))
    (page,) = drawn.pages
    zones = tuple(replace(zone, name=zone.name[:-2].lower()) for zone in page.zones)
    form = replace(drawn, title="Loan application", pages=(replace(page, zones=zones),))
    (out / "loan.yaml").write_text(form.to_yaml())
    for name, verdict, fault in (("complete", "complete", ""), ("unsigned", "missing", "nothing")):
        for seed in range(100):
            rng = np.random.default_rng((7204, seed))
            pixels = fill(blank, "skew", rng, fault, LACKING).pixels
            image = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
            found = detector.detect(image.tobytes(), operating_point="review")
            marks = [
                Mark(label, float(score), tuple(map(float, box)))  # type: ignore[arg-type]
                for label, score, box in zip(
                    found["labels"], found["scores"], found["boxes"], strict=True
                )
            ]
            height, width = pixels.shape[:2]
            filled = PageMarks(1, width, height, marks, open_page(image.tobytes()))
            answer = check(form, [filled], accept)
            unfilled = sum(zone.verdict != "complete" for zone in answer.zones)
            if answer.verdict == verdict and unfilled == bool(fault):
                (out / "filled" / f"{name}.jpg").write_bytes(image.tobytes())
                break
        else:
            raise ValueError(f"{name}: of 100 scans the detector gets none right")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    write_example(parser.parse_args().out)


if __name__ == "__main__":
    main()
