"""Whole pages: print, ink and scan, with boxes taken from the ink itself."""

from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np

from training.detector import scan
from training.detector.labels import CLASSES
from training.detector.pages import handwriting, lookalikes, stamps, templates, text
from training.detector.pages.sheet import Colour, Sheet, hand_text, press

SIGNATURE, STAMP = CLASSES.index("signature"), CLASSES.index("stamp")
# Ids of page templates, writers and stamp designs; no id serves two splits.
POOLS = {"train": range(0, 4000), "validation": range(4000, 4500), "test": range(4500, 5000)}
SMALLEST = 8  # px: a box must be this wide and high on the scan
VISIBLE = 0.35  # share of the ink that must be seen on the scan
CONTRAST = 16  # grey levels by which ink must change the scan to be seen
HEIGHTS = (1000, 2200)  # px: range of drawing resolutions, 90 to 200 dpi of a letter
SPRAWLING = 0.1  # share of signatures written over several lines of the page
CROWDED = 0.2  # share of a mark that another of its class may cover; real ones hardly meet
TRIES = 4  # to place a mark beside others
DATED = 0.18  # share of signatures with a date or a word beside them, by the same pen


@dataclass(frozen=True)
class Mark:
    """One signature or stamp as inked: its class and the (n, 2) x, y of its pixels."""

    class_id: int
    points: np.ndarray
    touched: tuple[np.ndarray, ...]  # rows and columns of all that its ink changed
    fading: np.ndarray  # (m, 3): factors that take the ink off them again

    @property
    def box(self) -> np.ndarray:
        """(4,) xyxy on the drawn page."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])

    @classmethod
    def of(cls, class_id: int, points: np.ndarray, before: np.ndarray, after: np.ndarray) -> "Mark":
        """From the (H, W, 3) uint8 page before and after it was inked."""
        touched = np.nonzero((before != after).any(axis=2))
        return cls(class_id, points, touched, before[touched] / np.maximum(after[touched], 1.0))

    def off(self, pixels: np.ndarray) -> np.ndarray:
        """The page without this mark, whatever was inked over it."""
        bare = pixels.copy()
        bare[self.touched] = np.minimum(bare[self.touched] * self.fading + 0.5, 255)
        return bare


@dataclass(frozen=True)
class Page:
    """A scanned page and what is on it."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32, pixels of this page
    template: int
    writers: tuple[int, ...]
    stamps: tuple[int, ...]


def draw_page(
    split: str,
    index: int,
    seed: int,
    height: int | None = None,
    source: scan.Source | None = None,
    long_side: int = scan.FRAME,
) -> Page:
    """Page number `index` of a split; equal arguments give the same page.

    `height` is the drawing resolution in px, of any in HEIGHTS unless told, `long_side` that of the
    scan. A mark that the scan does not show is taken off the page. KeyError if there is no such
    split.
    """
    pool = POOLS[split]
    rng = np.random.default_rng((seed, list(POOLS).index(split), index))
    height = height or int(rng.integers(*HEIGHTS))
    template = _from_pool(pool, rng)
    house = templates.look(template)
    aspect = 0.7071 if rng.random() < 0.6 else 0.7727  # A4, letter
    sheet = Sheet(round(height * aspect), height, house, rng)
    kind = templates.kind(template)
    places = templates.TEMPLATES[kind][0](sheet, rng)
    pixels = np.array(sheet.image)
    unit = sheet.unit

    marks: list[Mark] = []
    writers: list[int] = []
    designs: list[int] = []
    steps = [lambda: _sign(pixels, unit, places, pool, marks, writers, rng)]
    steps.insert(
        int(rng.integers(2)),
        lambda: _stamp(pixels, unit, kind, places, pool, marks, writers, designs, rng),
    )
    if rng.random() < (0.4 if kind == "certificate" else 0.01):
        designs.append(_from_pool(pool, rng))
        spot = (pixels.shape[1] * rng.uniform(0.15, 0.85), height * rng.uniform(0.65, 0.88))
        before = pixels.copy()
        points = stamps.stick(pixels, stamps.design(designs[-1]), spot, rng)
        marks.append(Mark.of(STAMP, points, before, pixels))
    _scribble(pixels, unit, pool, writers, rng)
    _date(pixels, unit, sheet.dates, pool, writers, rng)
    for step in steps:
        step()
    if rng.random() < 0.35:
        lookalikes.bates_number(pixels, unit, rng)
    if rng.random() < 0.25:
        lookalikes.punch_holes(pixels, unit, rng)

    source = source or scan.pick(rng)
    scanned, matrix = scan.digitise(pixels, source, long_side, deepcopy(rng))
    class_ids, found = [], []
    for mark in marks:
        without = mark.off(pixels)
        bare, _ = scan.digitise(without, source, long_side, deepcopy(rng))
        box = extent(mark.points, matrix, cv2.absdiff(scanned, bare).max(axis=2) >= CONTRAST)
        if box is None:
            pixels, scanned = without, bare
        else:
            class_ids.append(mark.class_id)
            found.append(box)
    return Page(
        scanned, np.array(class_ids, np.int64), np.array(found, np.float32).reshape(-1, 4),
        template, tuple(writers), tuple(designs),
    )  # fmt: skip


def extent(points: np.ndarray, matrix: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """Box (4,) xyxy of the (n, 2) points of a mark after `matrix`: the extent of the ink that shows
    on the scan, where `seen`, (H, W) bool, is set. None if the mark is mostly cut off, hidden or
    lost in the copy, or too small to see.
    """
    if not len(points):
        return None
    moved = cv2.perspectiveTransform(points[None] + 0.5, matrix)[0]
    inside = moved[((moved >= 0) & (moved < seen.shape[::-1])).all(axis=1)]
    cols, rows = inside.astype(np.intp).T
    shown = inside[seen[rows, cols]]
    if len(shown) < VISIBLE * len(moved):
        return None
    low, high = shown.min(axis=0), shown.max(axis=0)
    return np.concatenate([low, high]) if (high - low >= SMALLEST).all() else None


def crowded(class_id: int, box: np.ndarray, marks: list[Mark]) -> bool:
    """Whether a box (4,) xyxy and one of another mark of its class lie on each other: more than
    CROWDED of the smaller.
    """
    for mark in marks:
        if mark.class_id == class_id and len(mark.points):
            both = np.minimum(box[2:], mark.box[2:]) - np.maximum(box[:2], mark.box[:2])
            smaller = min(np.prod(box[2:] - box[:2]), np.prod(mark.box[2:] - mark.box[:2]))
            if (both > 0).all() and np.prod(both) > CROWDED * smaller:
                return True
    return False


def _from_pool(pool: range, rng: np.random.Generator) -> int:
    return int(pool[rng.integers(len(pool))])


def _pen_colour(rng: np.random.Generator) -> Colour:
    shares = {
        "black": 0.46,
        "grey": 0.05,
        "navy": 0.17,
        "blue": 0.18,
        "teal": 0.06,
        "violet": 0.04,
        "green": 0.04,
    }
    name = str(rng.choice(list(shares), p=list(shares.values())))
    return handwriting.INKS[name]


def _sign(
    pixels: np.ndarray, unit: float, places: list[templates.Place], pool: range,
    marks: list[Mark], writers: list[int], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Sign most of the places, each with its own hand and usually one pen."""
    if rng.random() < 0.1:
        return
    colour = _pen_colour(rng)
    for place in places:
        if rng.random() < 0.12:
            continue
        if rng.random() < 0.15:
            colour = _pen_colour(rng)
        writers.append(_from_pool(pool, rng))
        hand = handwriting.writer(writers[-1])
        if _signature(pixels, unit, place, hand, colour, marks, rng) and rng.random() < DATED:
            _dated(pixels, unit, marks[-1].points, hand, colour, rng)


def _date(
    pixels: np.ndarray, unit: float, lines: list[tuple[float, float]], pool: range,
    writers: list[int], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Dates on the lines that begin at the given x, y; about as high as a small signature."""
    for x, y in lines:
        writers.append(_from_pool(pool, rng))
        size = float(rng.uniform(14, 30)) * unit
        line = text.date(rng) if rng.random() < 0.5 else text.short_date(rng)
        entry = lookalikes.jotted(line, size, unit, handwriting.writer(writers[-1]), rng)
        corner = (x * unit, y * unit - entry.shape[0] * float(rng.uniform(0.8, 1.05)))
        press(pixels, entry, _pen_colour(rng), corner, float(rng.uniform(0.6, 1.0)))


def _dated(
    pixels: np.ndarray, unit: float, points: np.ndarray, hand: handwriting.Writer, colour: Colour,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """What a signer adds beside or below the signature; it is not part of it."""
    (left, top), (right, foot) = points.min(axis=0), points.max(axis=0)
    line = lookalikes.jotting(rng) if rng.random() < 0.7 else text.person(rng)
    size = float(rng.uniform(12, 26)) * unit
    entry = lookalikes.jotted(line, size, unit, hand, rng)
    if rng.random() < 0.6:
        corner = (right + rng.uniform(2, 40) * unit, (top + foot) / 2 - rng.uniform(0, 1) * size)
    else:
        corner = (left + rng.normal(0, 20) * unit, foot + rng.uniform(0, 12) * unit)
    press(pixels, stamps.rotated(entry, rng.normal(0, 4)), colour, corner, 0.9)


def _signature(
    pixels: np.ndarray, unit: float, place: templates.Place, hand: handwriting.Writer,
    colour: Colour, marks: list[Mark], rng: np.random.Generator,
) -> bool:  # fmt: skip
    """Write one signature about `place`, smaller where others leave little room.

    False, and nothing is written, if they leave too little.
    """
    short = place.initials or rng.random() < 0.05
    plan = (handwriting.initials_plan if short else handwriting.signature_plan)(hand, rng)
    stretch = 1.0 if short else float(rng.lognormal(0.35, 0.25))
    width = place.width * float(rng.lognormal(0.0 if short else 0.3, 0.3)) * unit
    tall = (place.width * 0.9 if place.initials else float(rng.uniform(38, 96))) * unit
    if not short and rng.random() < SPRAWLING:
        width, tall = width * float(rng.uniform(1.2, 1.8)), float(rng.uniform(90, 210)) * unit
    pen = max(0.75, hand.pen * unit * float(rng.uniform(0.8, 1.25)))
    tilt = float(rng.normal(0, 12)) if rng.random() < 0.08 else 0.0
    for attempt in range(TRIES):
        room = (width * 0.8**attempt, tall * 0.8**attempt)
        ink = handwriting.draw(hand, plan, room, pen, stretch)
        if tilt:
            ink = stamps.rotated(ink, tilt)
        x = place.x * unit - ink.shape[1] / 2 + rng.normal(0, 14) * unit
        y = place.y * unit - ink.shape[0] * rng.uniform(0.5, 1.0) + rng.normal(0, 5) * unit
        box = np.array([x, y, x + ink.shape[1], y + ink.shape[0]])
        if not crowded(SIGNATURE, box, marks):
            break
    else:
        return False
    strength = (
        float(rng.uniform(0.65, 1.0)) if rng.random() < 0.8 else float(rng.uniform(0.35, 0.65))
    )
    before = pixels.copy()
    points = press(pixels, ink, colour, (x, y), strength)
    if rng.random() < 0.02:  # doubled, as by a slipped copy
        more = press(
            pixels, ink, colour, (x + rng.normal(0, 3), y + rng.normal(0, 3)), strength * 0.7
        )
        points = np.concatenate([points, more])
    marks.append(Mark.of(SIGNATURE, points, before, pixels))
    return len(points) > 0


def _stamp(
    pixels: np.ndarray, unit: float, kind: str, places: list[templates.Place], pool: range,
    marks: list[Mark], writers: list[int], designs: list[int], rng: np.random.Generator,
) -> None:  # fmt: skip
    """No, one or a few stamps: beside signatures, low on the page, at the head, anywhere.

    An invoice has one at least.
    """
    count = int(rng.choice((0, 1, 2, 3), p=(0.42, 0.38, 0.14, 0.06)))
    for _ in range(count + (kind == "invoice")):
        designs.append(_from_pool(pool, rng))
        stamp = stamps.design(designs[-1])
        ink = stamps.draw(stamp, unit, rng)
        signed = 0.7 if kind == "invoice" else 0.35
        corner = _clear_spot(pixels, unit, ink.shape, places if rng.random() < signed else [], rng)
        box = np.array([*corner, corner[0] + ink.shape[1], corner[1] + ink.shape[0]])
        if crowded(STAMP, box, marks) and rng.random() < 0.9:
            continue
        strength = (
            float(rng.uniform(0.6, 1.0)) if rng.random() < 0.75 else float(rng.uniform(0.3, 0.6))
        )
        before = pixels.copy()
        points = press(pixels, ink, stamps.INKS[stamp.ink], corner, strength)
        marks.append(Mark.of(STAMP, points, before, pixels))
        if stamp.kind in ("framed", "date") and rng.random() < 0.4:  # filled in by hand
            size = max(6, int(ink.shape[0] * rng.uniform(0.15, 0.3)))
            entry = hand_text(text.date(rng)[:9], text.pick_font("hand", rng), size, rng)
            spot = (
                corner[0] + ink.shape[1] * 0.25,
                corner[1] + ink.shape[0] * rng.uniform(0.3, 0.6),
            )
            press(pixels, entry, _pen_colour(rng), spot, 0.9)
        if rng.random() < 0.1:  # signed across
            writers.append(_from_pool(pool, rng))
            x, y = (box[:2] + box[2:]) / 2 / unit
            place = templates.Place(float(x), float(y), float(rng.uniform(70, 160)))
            hand = handwriting.writer(writers[-1])
            _signature(pixels, unit, place, hand, _pen_colour(rng), marks, rng)


def _clear_spot(
    pixels: np.ndarray, unit: float, size: tuple[int, ...], places: list[templates.Place],
    rng: np.random.Generator,
) -> tuple[float, float]:  # fmt: skip
    """The lightest of a few spots for ink of `size` (h, w), as its left and top: beside one of
    `places`, else low on the page, at the head, anywhere.
    """
    height, width = pixels.shape[:2]
    where = rng.random()
    spots = []
    for _ in range(int(rng.integers(1, TRIES + 1))):
        if places:
            place = places[rng.integers(len(places))]
            loose = rng.choice((0.3, 1.0))  # under the signature, or somewhere near it
            x = place.x * unit + rng.normal(0, 90) * loose * unit
            y = place.y * unit + rng.normal(0, 45) * loose * unit
        elif where < 0.4:
            x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.7, 0.95) * height
        elif where < 0.7:
            x, y = rng.uniform(0.5, 0.9) * width, rng.uniform(0.03, 0.3) * height
        else:
            x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.05, 0.95) * height
        left = float(np.clip(x, 0, width - 1)) - size[1] / 2
        top = float(np.clip(y, 0, height - 1)) - size[0] / 2
        rows = slice(max(0, int(top)), int(top) + size[0])
        columns = slice(max(0, int(left)), int(left) + size[1])
        spots.append((-pixels[rows, columns].mean(), left, top))
    return min(spots)[1:]


def _scribble(
    pixels: np.ndarray, unit: float, pool: range, writers: list[int], rng: np.random.Generator
) -> None:
    """What hands leave on pages beside signatures; none of it is boxed."""
    height, width = pixels.shape[:2]

    def spot() -> tuple[float, float]:
        """Mostly the margins: left, right, head or foot."""
        x, y = rng.uniform(0.02, 0.85), rng.uniform(0.02, 0.93)
        side = int(rng.integers(5))
        x = (x, rng.uniform(0.01, 0.06), rng.uniform(0.75, 0.9), x, x)[side]
        y = (y, y, y, rng.uniform(0.01, 0.12), rng.uniform(0.85, 0.95))[side]
        return float(x) * width, float(y) * height

    def hand() -> handwriting.Writer:
        writers.append(_from_pool(pool, rng))
        return handwriting.writer(writers[-1])

    for _ in range(int(rng.choice((0, 1, 2, 3), p=(0.6, 0.25, 0.1, 0.05)))):
        lookalikes.note(pixels, unit, spot(), hand(), rng)
    for _ in range(int(rng.choice((0, 1, 3, 6), p=(0.75, 0.12, 0.08, 0.05)))):
        lookalikes.tick(pixels, unit, spot(), hand(), rng)
    if rng.random() < 0.1:
        lookalikes.crossed_out(pixels, unit, spot(), hand(), rng)
