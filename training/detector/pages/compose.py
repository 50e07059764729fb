"""Whole pages: print, ink and scan, with boxes taken from the ink itself."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np

from training.detector import scan
from training.detector.labels import CLASSES
from training.detector.pages import (
    designs,
    handwriting,
    houses,
    lookalikes,
    printed,
    stamps,
    templates,
    text,
)
from training.detector.pages.sheet import Colour, Sheet, press
from training.detector.pages.traits import weighted

SIGNATURE, STAMP = CLASSES.index("signature"), CLASSES.index("stamp")
# Ids of page templates, writers and stamp designs; no id serves two splits.
POOLS = {"train": range(0, 4000), "validation": range(4000, 4500), "test": range(4500, 5000)}
HEIGHTS = (880, 1500)  # px: range of resolutions, 80 to 135 dpi of a letter
SMALLEST = 0.009  # of the page's long side: a box must be this wide and high
CONTRAST = 16  # grey levels by which ink must change the scan to be seen
VISIBLE = 0.35  # share of the ink that must be seen on the scan to be labelled
TRACE = 0.06  # share of the ink that, if seen, is an area to ignore
FAINT = 28  # grey levels: least mean change of a label on clean paper
CLEAR = 1.5  # least contrast-to-noise ratio of a label: mean change over the deviation below
SPREAD = {"letter": 1.25, "memo": 1.25, "continuation": 1.25, "certificate": 1.35}  # of signatures
SPRAWLING = 0.08  # share of signatures written over several lines of the page
CROWDED = 0.2  # share of a mark that another of its class may cover; real ones hardly meet
STACKED = 0.4  # the same for marks in one column, as signatures in a list are
STRAY = 0.22  # share of pages with pictures, codes or panels where they may be
UNMARKED = 0.25  # share of pages without marks, beside those that happen to have none
TRIES = 4  # to place a mark beside others
FLATTEST = 5.0  # width over height of a signature, about the most that real ones have
DATED = 0.22  # share of signatures with a date or a word beside them, by the same pen
FILLED = 0.8  # share of the places without a signature where a hand has put a word or a date
NUMBERED = {"letter": 0.25, "continuation": 0.25, "memo": 0.25, "table": 0.25, "form": 0.15}
UNSIGNED = {
    "invoice": 0.35,
    "form": 0.25,
    "table": 0.5,
    "certificate": 0.06,
    "act": 0.08,
    "deed": 0.08,
}
PENS = {
    "black": 0.4, "grey": 0.04, "navy": 0.17, "blue": 0.23, "teal": 0.04, "violet": 0.07,
    "green": 0.05,
}  # fmt: skip
INVOICE_PENS = {"black": 0.25, "navy": 0.2, "blue": 0.38, "violet": 0.12, "green": 0.05}
# By kind of page: shares of 0, 1, 2 and 3 stamps, and of their kinds.
STAMPED: dict[str, tuple[tuple[float, ...], dict[str, float]]] = {
    "letter": (
        (0.68, 0.25, 0.05, 0.02),
        {"date": 0.3, "dateline": 0.1, "word": 0.14, "text": 0.16, "framed": 0.1, "round": 0.12,
         "registry": 0.05, "oval": 0.03},
    ),
    "invoice": (
        (0.12, 0.56, 0.22, 0.1),
        {"company": 0.42, "registry": 0.13, "date": 0.08, "word": 0.07, "round": 0.12, "oval": 0.03,
         "text": 0.06, "framed": 0.05, "dateline": 0.02, "picture": 0.02},
    ),
    "certificate": (
        (0.3, 0.5, 0.15, 0.05),
        {"round": 0.52, "rings": 0.08, "oval": 0.14, "text": 0.1, "square": 0.06, "picture": 0.05,
         "dateline": 0.05},
    ),
    "deed": (
        (0.1, 0.35, 0.35, 0.2),
        {"round": 0.46, "rings": 0.04, "oval": 0.12, "text": 0.2, "dateline": 0.06, "date": 0.05,
         "certified": 0.07},
    ),
    "act": ((0.5, 0.35, 0.1, 0.05), {"rings": 0.75, "round": 0.1, "text": 0.08, "framed": 0.07}),
    "statement": (
        (0.4, 0.4, 0.15, 0.05),
        {"certified": 0.3, "round": 0.3, "framed": 0.15, "dateline": 0.25},
    ),
    "receipt": ((1.0,), designs.KINDS),
    "": ((0.5, 0.33, 0.12, 0.05), designs.KINDS),
}  # fmt: skip
STAMPED |= {"memo": STAMPED["letter"], "continuation": STAMPED["letter"]}
# Share of stamps that somebody signs across or inside.
CROSSED = {
    "certified": 0.95, "company": 0.6, "rings": 0.5, "round": 0.42, "oval": 0.42, "text": 0.3,
    "picture": 0.2,
}  # fmt: skip
# Share of those signatures that are in the stamp's own ink or one like it: on seals, on others.
SEAL_COLOUR, STAMP_COLOUR = 0.5, 0.25
BOX_KINDS = {
    "round": "round_seal", "rings": "round_seal", "oval": "oval_seal", "square": "square_seal",
    "date": "date_stamp", "dateline": "date_stamp", "framed": "framed_text",
    "registry": "framed_text",
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One signature or stamp as inked: its class, its kind and its pixels."""

    class_id: int
    kind: str
    points: np.ndarray  # (n, 2) x, y on the drawn page
    fading: np.ndarray  # (n, 3): factors that take its ink off them again

    @property
    def box(self) -> np.ndarray:
        """(4,) xyxy on the drawn page."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])

    def visible(self, pixels: np.ndarray) -> np.ndarray:
        """(n,) bool: where the (H, W, 3) uint8 page would look different without this mark."""
        columns, rows = self.points.astype(np.intp).T
        inked = pixels[rows, columns].astype(np.float32)
        return np.abs(np.minimum(inked * self.fading, 255) - inked).max(axis=1) >= CONTRAST


@dataclass(frozen=True)
class Page:
    """A scanned page and what is on it."""

    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    class_ids: np.ndarray  # (n,) int64
    xyxy: np.ndarray  # (n, 4) float32, pixels of this page
    kinds: tuple[str, ...]  # (n,) as in labels.json, or ""
    ignore: np.ndarray  # (m, 4) float32: marks that can hardly be seen
    template: int
    writers: tuple[int, ...]
    stamps: tuple[int, ...]


class Paper:
    """A printed page (H, W, 3) uint8 under ink, and beside it the same page without its marks."""

    def __init__(self, pixels: np.ndarray, unit: float, kind: str, pool: range):
        self.pixels, self.bare = pixels, pixels.copy()
        self.unit, self.kind, self.pool = unit, kind, pool
        self.marks: list[Mark] = []
        self.writers: list[int] = []
        self.designs: list[int] = []

    def hand(self, rng: np.random.Generator) -> handwriting.Writer:
        """Somebody of the split."""
        self.writers.append(int(rng.choice(self.pool)))
        return handwriting.writer(self.writers[-1])

    def stamp(self, kind: str, rng: np.random.Generator) -> designs.Design:
        """A design of the split, of `kind` unless the split seems to have none."""
        for design_id in rng.choice(self.pool, 200):
            if designs.kind_of(int(design_id)) == kind:
                break
        self.designs.append(int(design_id))
        return designs.design(int(design_id))

    def write(
        self, ink: np.ndarray, colour: Colour, corner: tuple[float, float], strength: float = 1.0
    ) -> None:
        """Press what is no mark."""
        for page in (self.pixels, self.bare):
            press(page, ink, colour, corner, strength)

    def alter(
        self, change: Callable[[np.ndarray, float, np.random.Generator], None],
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """Change both pages alike, in place; `change` takes pixels, `unit` and `rng`."""
        bare_rng = deepcopy(rng)
        change(self.pixels, self.unit, rng)
        change(self.bare, self.unit, bare_rng)

    def mark(
        self, class_id: int, kind: str, *layers: tuple[np.ndarray, Colour, tuple, float]
    ) -> bool:
        """Press a mark of one or more layers (ink, colour, corner, strength); whether any ink lies
        on the page.
        """
        before = self.pixels.copy()
        points = np.concatenate([press(self.pixels, *layer) for layer in layers])
        self.add(class_id, kind, points, before)
        return len(points) > 0

    def add(self, class_id: int, kind: str, points: np.ndarray, before: np.ndarray) -> None:
        """Keep the (n, 2) points of a mark that is on the page; `before` is the page without it."""
        if len(points):
            columns, rows = points.astype(np.intp).T
            fading = before[rows, columns] / np.maximum(self.pixels[rows, columns], 1.0)
            self.marks.append(Mark(class_id, kind, points, fading.astype(np.float32)))


def template_of(split: str, index: int, seed: int) -> int:
    """The house that page number `index` of a split is of."""
    rng = np.random.default_rng((seed, list(POOLS).index(split), index, 1))
    return int(rng.choice(POOLS[split]))


def draw_page(
    split: str,
    index: int,
    seed: int,
    height: int | None = None,
    source: scan.Source | None = None,
) -> Page:
    """Page number `index` of a split, scanned as it was drawn; equal arguments give the same page.

    `height` is the resolution in px, of any in HEIGHTS unless told. KeyError if there is no such
    split.
    """
    pool, template = POOLS[split], template_of(split, index, seed)
    kind = houses.kind(template)
    rng = np.random.default_rng((seed, list(POOLS).index(split), index))
    any_height = int(rng.integers(*HEIGHTS))
    height = height or any_height
    aspect = 0.7071 if rng.random() < 0.6 else 0.7727  # A4, letter
    sheet = Sheet(round(height * aspect), height, houses.look(template), rng)
    places = templates.TEMPLATES[kind](sheet, rng)
    if rng.random() < STRAY:
        printed.strays(sheet, rng)
    paper = Paper(np.array(sheet.image), sheet.unit, kind, pool)

    _ink(paper, sheet, places, rng)

    source, bare_rng = source or scan.pick(rng, kind), deepcopy(rng)
    scanned, matrix = scan.digitise(paper.pixels, source, rng)
    bare = scan.digitise(paper.bare, source, bare_rng)[0] if paper.marks else scanned
    red, green, blue = cv2.split(cv2.absdiff(scanned, bare))
    changed = cv2.max(cv2.max(red, green), blue)
    labels, ignore = [], []
    for mark in paper.marks:
        moved = cv2.perspectiveTransform(mark.points[None] + 0.5, matrix)[0]
        box, clear = extent(moved, mark.visible(paper.pixels), bare, changed)
        if box is not None and clear:
            labels.append((mark.class_id, mark.kind, box))
        elif box is not None:
            ignore.append(box)
    return Page(
        pixels=scanned,
        class_ids=np.array([class_id for class_id, _, _ in labels], np.int64),
        xyxy=np.array([box for _, _, box in labels], np.float32).reshape(-1, 4),
        kinds=tuple(box_kind for _, box_kind, _ in labels),
        ignore=np.array(ignore, np.float32).reshape(-1, 4),
        template=template,
        writers=tuple(paper.writers),
        stamps=tuple(paper.designs),
    )


def _ink(paper: Paper, sheet: Sheet, places: list[houses.Place], rng: np.random.Generator) -> None:
    """Everything that comes onto a page after it was printed, in its order."""
    if rng.random() < 0.04:
        paper.alter(printed.highlights, rng)
    marked, signed_first = rng.random() >= UNMARKED, rng.random() < 0.5
    if marked:
        _stick(paper, rng)
    _scribble(paper, rng)
    _date(paper, sheet.dates, rng)
    if marked and signed_first:
        _sign(paper, places, rng)
    if marked:
        _stamp(paper, places, sheet.seals, rng)
    if marked and not signed_first:
        _sign(paper, places, rng)
    if not marked:
        _leave_unsigned(paper, places, rng)
    if rng.random() < NUMBERED.get(paper.kind, 0):
        paper.alter(lookalikes.bates_number, rng)
    if rng.random() < 0.2:
        paper.alter(lookalikes.punch_holes, rng)


def extent(
    points: np.ndarray, visible: np.ndarray, bare: np.ndarray, changed: np.ndarray
) -> tuple[np.ndarray | None, bool]:
    """Box (4,) xyxy of a mark on the scan, and whether it is clear enough for a label.

    `points` (n, 2) are its pixels there, `visible` (n,) bool those that no other ink hides, `bare`
    (H, W, 3) uint8 the scan of the page without marks, `changed` (H, W) uint8 by how much they
    changed it. A mark is clear if enough of its ink is seen, it is large enough, and its mean
    change is FAINT, and CLEAR times the deviation of the page below. None if next to nothing of it
    is seen.
    """
    size = np.array(changed.shape[::-1])
    inside = ((points >= 0) & (points < size)).all(axis=1)
    columns, rows = points[inside].astype(np.intp).T
    change = np.where(visible[inside], changed[rows, columns], 0)
    seen = change >= CONTRAST
    share = seen.sum() / max(len(points), 1)
    if share < TRACE:
        return None, False
    spots = points[inside][seen if share >= VISIBLE else slice(None)]
    low, high = spots.min(axis=0), spots.max(axis=0)
    left, top, right, foot = np.concatenate([low, high]).astype(int)
    below = cv2.cvtColor(bare[top : foot + 1, left : right + 1], cv2.COLOR_RGB2GRAY)
    large = ((high - low) >= SMALLEST * size.max()).all()
    least = max(FAINT, CLEAR * below.std())
    clear = share >= VISIBLE and large and change[seen].mean() >= least
    return np.concatenate([low, high]), bool(clear)


def crowded(class_id: int, box: np.ndarray, marks: list[Mark]) -> bool:
    """Whether a box (4,) xyxy and one of another mark of its class lie on each other: more than
    CROWDED of the smaller, or STACKED where one stands above the other.
    """
    for mark in marks:
        if mark.class_id == class_id:
            other = mark.box
            both = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            size, others = box[2:] - box[:2], other[2:] - other[:2]
            apart = np.abs(box[:2] + box[2:] - other[:2] - other[2:]) / 2
            column = apart[0] < size[0] / 4 and apart[1] > min(size[1], others[1]) / 2
            limit = STACKED if column else CROWDED
            if (both > 0).all() and np.prod(both) > limit * min(np.prod(size), np.prod(others)):
                return True
    return False


def _pen(paper: Paper, rng: np.random.Generator) -> Colour:
    shares = INVOICE_PENS if paper.kind == "invoice" else PENS
    return _like(handwriting.INKS[weighted(shares, rng)], rng)


def _like(colour: Colour, rng: np.random.Generator) -> Colour:
    """A colour as another pad or pen of its kind has it."""
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, 12, 3), 0, 235).astype(int).tolist()
    return red, green, blue


def _sign(paper: Paper, places: list[houses.Place], rng: np.random.Generator) -> None:
    """Sign most of the places, each with its own hand and usually one pen, and fill in some of the
    others.
    """
    if rng.random() < UNSIGNED.get(paper.kind, 0.12):
        _leave_unsigned(paper, places, rng)
        return
    colour = _pen(paper, rng)
    for place in places:
        if rng.random() < 0.12:
            _leave_unsigned(paper, [place], rng)
            continue
        if rng.random() < 0.15:
            colour = _pen(paper, rng)
        hand = paper.hand(rng)
        if _signature(paper, place, hand, colour, rng) and rng.random() < DATED:
            _dated(paper, paper.marks[-1].points, hand, colour, rng)


def _leave_unsigned(paper: Paper, places: list[houses.Place], rng: np.random.Generator) -> None:
    """Leave places empty, or with what is legible and so no signature."""
    for place in places:
        if place.initials or rng.random() >= FILLED:
            continue
        line = lookalikes.instead(rng)
        widest = 1.5 * place.width / (0.5 * len(line))
        size = min(float(rng.uniform(12, 36)), widest) * paper.unit
        entry = lookalikes.jotted(line, size, paper.unit, paper.hand(rng), rng)
        entry = stamps.rotated(entry, rng.normal(0, 3))
        x = (place.x + rng.normal(0, 0.2) * place.width) * paper.unit - entry.shape[1] / 2
        y = place.y * paper.unit - entry.shape[0] * rng.uniform(0.6, 1.1)
        paper.write(entry, _pen(paper, rng), (x, y), float(rng.uniform(0.6, 1.0)))


def _date(paper: Paper, lines: list[tuple[float, float]], rng: np.random.Generator) -> None:
    """Dates on the lines that begin at the given x, y; about as high as a small signature."""
    for x, y in lines:
        size = float(rng.uniform(14, 30)) * paper.unit
        line = text.date(rng) if rng.random() < 0.5 else text.short_date(rng)
        entry = lookalikes.jotted(line, size, paper.unit, paper.hand(rng), rng)
        corner = (x * paper.unit, y * paper.unit - entry.shape[0] * float(rng.uniform(0.8, 1.05)))
        paper.write(entry, _pen(paper, rng), corner, float(rng.uniform(0.6, 1.0)))


def _dated(
    paper: Paper, points: np.ndarray, hand: handwriting.Writer, colour: Colour,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """What a signer adds beside or below the signature; it is not part of it."""
    (left, top), (right, foot) = points.min(axis=0), points.max(axis=0)
    unit = paper.unit
    line = (lookalikes.jotting if rng.random() < 0.6 else lookalikes.instead)(rng)
    size = float(rng.uniform(12, 30)) * unit
    entry = lookalikes.jotted(line, size, unit, hand, rng)
    if rng.random() < 0.6:
        corner = (right + rng.uniform(2, 40) * unit, (top + foot) / 2 - rng.uniform(0, 1) * size)
    else:
        corner = (left + rng.normal(0, 20) * unit, foot + rng.uniform(0, 12) * unit)
    paper.write(stamps.rotated(entry, rng.normal(0, 4)), colour, corner, 0.9)


def _signature(
    paper: Paper, place: houses.Place, hand: handwriting.Writer, colour: Colour,
    rng: np.random.Generator,
) -> bool:  # fmt: skip
    """Write one signature about `place`, smaller where others leave little room.

    False, and nothing is written, if they leave too little.
    """
    unit = paper.unit
    short = place.initials or rng.random() < 0.05
    plan = (handwriting.initials_plan if short else handwriting.signature_plan)(hand, rng)
    upright = short or hand.style == "tall"
    stretch = 1.0 if upright else float(rng.lognormal(0.2, 0.25))
    spread = 1.0 if short else SPREAD.get(paper.kind, 1.0)
    width = place.width * spread * float(rng.lognormal(0.0 if short else 0.3, 0.3)) * unit
    tall = (
        place.width * 0.9 if place.initials else float(rng.uniform(38, 96)) * spread**0.5
    ) * unit
    if hand.style == "tall":
        tall *= 1.3
    elif not short and rng.random() < SPRAWLING:
        width, tall = width * float(rng.uniform(1.2, 1.8)), float(rng.uniform(90, 210)) * unit
    pen = max(0.75, hand.pen * unit * float(rng.uniform(0.8, 1.25)))
    tilt = float(rng.normal(0, 12)) if rng.random() < 0.08 else 0.0
    for attempt in range(TRIES):
        room = (width * 0.8**attempt, tall * 0.8**attempt)
        ink = handwriting.draw(hand, plan, room, pen, stretch)
        if ink.shape[1] > FLATTEST * ink.shape[0]:
            stretch *= FLATTEST * ink.shape[0] / ink.shape[1]
            ink = handwriting.draw(hand, plan, room, pen, stretch)
        if tilt:
            ink = stamps.rotated(ink, tilt)
        x = place.x * unit - ink.shape[1] / 2 + rng.normal(0, 14) * unit
        y = place.y * unit - ink.shape[0] * rng.uniform(0.5, 1.0) + rng.normal(0, 5) * unit
        box = np.array([x, y, x + ink.shape[1], y + ink.shape[0]])
        if not crowded(SIGNATURE, box, paper.marks):
            break
    else:
        return False
    even = rng.random() < 0.8
    strength = float(rng.uniform(0.65, 1.0)) if even else float(rng.uniform(0.35, 0.65))
    layers = [(ink, colour, (x, y), strength)]
    if rng.random() < 0.02:  # doubled, as by a slipped copy
        slip = (x + rng.normal(0, 3), y + rng.normal(0, 3))
        layers.append((ink, colour, slip, strength * 0.7))
    return paper.mark(SIGNATURE, "initials" if short else "", *layers)


def _stamp(
    paper: Paper, places: list[houses.Place], seals: list[tuple[float, float, str]],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """The stamps that the template asks for, and no, one or a few others: beside signatures, low
    on the page, at the head, anywhere.
    """
    unit = paper.unit
    for x, y, kind in seals:
        if rng.random() < 0.8:
            ink = paper.stamp(kind, rng)
            face = stamps.draw(ink, unit, rng)
            corner = (x * unit - face.ink.shape[1] / 2, y * unit - face.ink.shape[0] / 2)
            _press_stamp(paper, ink, face, corner, rng)
    counts, kinds = STAMPED.get(paper.kind, STAMPED[""])
    for _ in range(int(rng.choice(len(counts), p=counts))):
        ink = paper.stamp(weighted(kinds, rng), rng)
        face = stamps.draw(ink, unit, rng)
        signed = 0.6 if paper.kind in ("invoice", "deed", "act", "certificate") else 0.35
        near = places if rng.random() < signed else []
        _press_stamp(paper, ink, face, _clear_spot(paper, face.ink.shape, near, rng), rng)


def _press_stamp(
    paper: Paper, stamp: designs.Design, face: stamps.Print, corner: tuple[float, float],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Print a stamp with its left and top at `corner`, fill it in, sign across it."""
    height, width = face.ink.shape
    box = np.array([*corner, corner[0] + width, corner[1] + height])
    if crowded(STAMP, box, paper.marks) and rng.random() < 0.93:
        return
    full = rng.random() < 0.75
    strength = float(rng.uniform(0.6, 1.0)) if full else float(rng.uniform(0.3, 0.6))
    colour = _like(designs.INKS[stamp.ink], rng)
    layers = [(face.ink, colour, corner, strength)]
    if face.second is not None:
        layers.append((face.second, _like(designs.INKS[stamp.second_ink], rng), corner, strength))
    if not paper.mark(STAMP, BOX_KINDS.get(stamp.kind, "text_stamp"), *layers):
        return
    if face.entries is not None:
        paper.write(face.entries, _pen(paper, rng), corner, 0.9)
    if rng.random() >= CROSSED.get(stamp.kind, 0.06):
        return
    same_ink = rng.random() < (SEAL_COLOUR if stamp.kind in designs.SEALS else STAMP_COLOUR)
    pen = _like(designs.INKS[stamp.ink], rng) if same_ink else _pen(paper, rng)
    x, y = (box[:2] + box[2:]) / 2 / paper.unit
    across = width / paper.unit
    inside = stamp.kind in designs.SEALS and rng.random() < 0.4
    if inside:  # small, within the ring
        place = houses.Place(
            float(x),
            float(y + across * 0.15),
            float(across * rng.uniform(0.3, 0.6)),
            bool(rng.random() < 0.4),
        )
    else:
        x += rng.normal(0, 0.2) * across
        place = houses.Place(
            float(x), float(y + rng.uniform(0, 35)), float(across * rng.uniform(0.45, 1.0))
        )
    _signature(paper, place, paper.hand(rng), pen, rng)


def _clear_spot(
    paper: Paper, size: tuple[int, ...], places: list[houses.Place], rng: np.random.Generator
) -> tuple[float, float]:
    """The lightest of a few spots for ink of `size` (h, w), as its left and top: beside one of
    `places`, else low on the page, at the head, anywhere.
    """
    height, width = paper.pixels.shape[:2]
    unit, where = paper.unit, rng.random()
    spots = []
    for _ in range(int(rng.integers(1, TRIES + 1))):
        if places:
            place = places[rng.integers(len(places))]
            loose = rng.choice((0.3, 1.0))  # under the signature, or somewhere near it
            x = place.x * unit + rng.normal(0, 90) * loose * unit
            y = place.y * unit + rng.normal(0, 45) * loose * unit
        elif where < 0.45:
            x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.6, 0.95) * height
        elif where < 0.65:
            x, y = rng.uniform(0.5, 0.9) * width, rng.uniform(0.03, 0.3) * height
        else:
            x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.05, 0.95) * height
        left = float(np.clip(x, 0, width - 1)) - size[1] / 2
        top = float(np.clip(y, 0, height - 1)) - size[0] / 2
        rows = slice(max(0, int(top)), int(top) + size[0])
        columns = slice(max(0, int(left)), int(left) + size[1])
        spots.append((-sum(cv2.mean(paper.pixels[rows, columns])), left, top))
    return min(spots)[1:]


def _stick(paper: Paper, rng: np.random.Generator) -> None:
    """A foil or wafer seal, or one in print, low on some certificates, rarely on other pages."""
    if rng.random() >= {"certificate": 0.4, "deed": 0.05}.get(paper.kind, 0.005):
        return
    height, width = paper.pixels.shape[:2]
    spot = (width * rng.uniform(0.15, 0.85), height * rng.uniform(0.65, 0.88))
    seal = paper.stamp("round", rng)
    if rng.random() < 0.7:
        before = paper.pixels.copy()
        points = stamps.stick(paper.pixels, seal, spot, rng)
        paper.add(STAMP, "sticker_seal", points, before)
        return
    face = stamps.printed(seal, paper.unit, rng)
    corner = (spot[0] - face.shape[1] / 2, spot[1] - face.shape[0] / 2)
    colour = (20, 20, 20) if rng.random() < 0.6 else printed.colour(rng)
    paper.mark(STAMP, "printed_seal", (face, colour, corner, 1.0))


def _scribble(paper: Paper, rng: np.random.Generator) -> None:
    """What hands leave on pages beside signatures; none of it is boxed."""
    height, width = paper.pixels.shape[:2]

    def spot() -> tuple[float, float]:
        """Mostly the margins: left, right, head or foot."""
        x, y = rng.uniform(0.02, 0.85), rng.uniform(0.02, 0.93)
        side = int(rng.integers(5))
        x = (x, rng.uniform(0.01, 0.06), rng.uniform(0.75, 0.9), x, x)[side]
        y = (y, y, y, rng.uniform(0.01, 0.12), rng.uniform(0.85, 0.95))[side]
        return float(x) * width, float(y) * height

    for _ in range(int(rng.choice((0, 1, 2, 3), p=(0.66, 0.22, 0.08, 0.04)))):
        lookalikes.note(paper.write, paper.unit, spot(), paper.hand(rng), rng)
    for _ in range(int(rng.choice((0, 1, 3, 6), p=(0.75, 0.12, 0.08, 0.05)))):
        lookalikes.tick(paper.write, paper.unit, spot(), paper.hand(rng), rng)
    if rng.random() < 0.08:
        lookalikes.crossed_out(paper.write, paper.unit, spot(), paper.hand(rng), rng)
