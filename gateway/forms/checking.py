"""Whether the right marks are in the right places of a document.

`complete` is said only where nothing is in doubt: as many marks of the zone's class as it needs,
each above the detector's accept threshold, each well within this zone and no other, on a page that
lies on its form beyond doubt, where the page can be seen, of ink that the blank form does not have.
`missing` is said where a zone was seen to be empty. What lies between is `review`, for a person.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from gateway.forms.form import Box, Form, FormPage, Zone
from gateway.forms.pages import LONG_SIDE, Sheet, turned_back
from gateway.forms.registration import Registration, agreement, register

COMPLETE, REVIEW, MISSING, EMPTY = "complete", "review", "missing", "empty"
INSIDE = 0.6  # share of a mark that must lie in its zone
ELSEWHERE = 0.25  # share of it in another zone of its class from which on it may be that one's
TOUCHING = 0.015 * LONG_SIDE  # distance from a zone within which a mark may be meant for it
PART = 0.5  # share of a mark that lies in a better one of its class: both are one
TWINS = 0.8  # intersection over union from which on marks of two classes are one thing
SEEN = 0.95  # share of a zone that must be on the page
ASPECT = 0.03  # by which a page without reference may differ from the form's, as a share
AROUND = 0.06 * LONG_SIDE  # around a zone, where print must agree with the blank page's
LEAST_PRINT = 600  # px of print that tell of it; with less there, the next print does
LEAST_AGREEMENT = 0.6  # around a zone
NEW = 0.2  # share of a mark's ink that the blank page does not have
TRACE = 80  # px of ink in a zone without a mark that a person should look at
MAX_PAIRS = 200  # pages of the form times pages of the document that are laid onto each other


@dataclass(frozen=True)
class Mark:
    """What the detector found."""

    label: str
    score: float
    box: Box  # pixels of the page


@dataclass(frozen=True)
class PageMarks:
    """A page of a document, with its marks above the review thresholds."""

    page: int  # from 1
    width: int  # px
    height: int
    marks: Sequence[Mark]
    sheet: Sheet | None = field(default=None, repr=False)  # for forms with references
    error: str = ""  # why there is nothing to be said of the page


@dataclass(frozen=True)
class MarkCheck:
    """A mark that is counted for a zone."""

    mark: Mark
    inside: float  # share of it in the zone
    distance: float  # from the zone, as a share of the page's height; 0 if they touch
    doubts: tuple[str, ...]  # none: it fills the zone


@dataclass(frozen=True)
class ZoneCheck:
    """What a zone shows."""

    zone: Zone
    form_page: int
    page: int | None  # of the document; None if none is the form's
    verdict: str  # complete, missing, review, or empty: nothing, and nothing required
    why: str
    marks: tuple[MarkCheck, ...]
    corners: np.ndarray | None  # (4, 2) pixels of the page


@dataclass(frozen=True)
class Placement:
    """A form's page in a document."""

    form_page: FormPage
    page: PageMarks | None = None
    matrix: np.ndarray | None = None  # (3, 3): the form page's frame -> pixels of the page
    registration: Registration | None = None
    doubts: tuple[str, ...] = ()  # of all that is on the page
    absent: bool = False  # the document has no such page


@dataclass(frozen=True)
class Check:
    """What a document shows of a form."""

    form: str
    verdict: str
    why: str
    pages: tuple[Placement, ...]
    zones: tuple[ZoneCheck, ...]
    extra: tuple[int, ...]  # pages of the document that are none of the form's


def check(form: Form, pages: Sequence[PageMarks], accept: Mapping[str, float]) -> Check:
    """What a document shows of a form; `accept` are the scores per class to be relied on.

    KeyError if a class of the form has none. ValueError if form and document have too many pages.
    """
    return judge(form, pages, place(form, pages), accept)


def judge(
    form: Form,
    pages: Sequence[PageMarks],
    placements: Sequence[Placement],
    accept: Mapping[str, float],
) -> Check:
    """As `check`, once it is known where each page of the form is in the document."""
    zones = [zone for placement in placements for zone in _zones(placement, accept)]
    required = [zone for zone in zones if zone.zone.required]
    doubts = []
    if form.page_count not in (None, len(pages)):
        doubts.append(f"{len(pages)} pages, the form has {form.page_count}")
    unfilled = [zone for zone in required if zone.verdict != COMPLETE]
    missing = [zone for zone in unfilled if zone.verdict == MISSING]
    verdict = MISSING if missing else REVIEW if unfilled or doubts else COMPLETE
    reasons: dict[str, list[str]] = {}
    for zone in missing or unfilled:
        reasons.setdefault(zone.why, []).append(zone.zone.name)
    doubts += [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
    found = {placement.page.page for placement in placements if placement.page}
    return Check(
        form=form.name,
        verdict=verdict,
        why="; ".join(doubts) or f"{len(required)} of {len(required)} zones filled",
        pages=tuple(placements),
        zones=tuple(zones),
        extra=tuple(page.page for page in pages if page.page not in found),
    )


def seen_upright(placed: Placement, marks: Sequence[Mark]) -> Placement:
    """A page that lies turned, with the marks that were found on it as `upright` turns it."""
    page, laid = placed.page, placed.registration
    assert page is not None
    assert laid is not None
    size = page.width, page.height
    found = tuple(replace(mark, box=turned_back(mark.box, laid.turned, size)) for mark in marks)
    return replace(placed, page=replace(page, marks=found))


def place(form: Form, pages: Sequence[PageMarks]) -> list[Placement]:
    """Where each page of the form is in a document."""
    laid = iter(_lay([page for page in form.pages if page.reference is not None], pages))
    return [
        _by_number(page, pages) if page.reference is None else next(laid) for page in form.pages
    ]


def _by_number(form_page: FormPage, pages: Sequence[PageMarks]) -> Placement:
    """A page without a reference is taken to lie as the form's does."""
    page = next((page for page in pages if page.page == form_page.number), None)
    if page is None:
        return Placement(form_page, absent=True)
    if page.error:
        return Placement(form_page, page, doubts=(page.error,))
    width, height = form_page.frame
    matrix = np.diag([page.width / width, page.height / height, 1.0])
    doubts: tuple[str, ...] = ()
    aspect = page.width / page.height
    if form_page.aspect and not 1 - ASPECT <= aspect / form_page.aspect <= 1 + ASPECT:
        doubts = (
            f"the page is {aspect:.3f} times as wide as high, the form's {form_page.aspect:.3f}, "
            f"limit {ASPECT:.0%} off",
        )
    return Placement(form_page, page, matrix, doubts=doubts)


def _lay(form_pages: Sequence[FormPage], pages: Sequence[PageMarks]) -> list[Placement]:
    """Pages with a reference, each laid onto the page of the document that agrees with it best."""
    if len(form_pages) * len(pages) > MAX_PAIRS:
        raise ValueError(
            f"{len(pages)} pages, limit {MAX_PAIRS // len(form_pages)} for a form with "
            f"{len(form_pages)} reference pages; choose some by `pages`"
        )
    found: dict[tuple[int, int], Registration] = {}
    refusals: dict[int, list[str]] = {j: [] for j in range(len(form_pages))}
    for i, page in enumerate(pages) if form_pages else ():
        for j, form_page in enumerate(form_pages):
            assert form_page.reference is not None
            laid = _laid(page, form_page.reference.sheet)
            if isinstance(laid, str):
                refusals[j].append(f"page {page.page}: {laid}")
            else:
                found[i, j] = laid
    chosen: dict[int, int] = {}  # page of the form: page of the document
    for i, j in sorted(found, key=lambda pair: -found[pair].agreement):
        if j not in chosen and i not in chosen.values():
            chosen[j] = i
    placements = []
    left_over = len(pages) > len(chosen)
    for j, form_page in enumerate(form_pages):
        if j not in chosen:
            doubts = (f"no page matches page {form_page.number} of the form", *refusals[j][:3])
            absent = not left_over
            placements.append(Placement(form_page, doubts=doubts, absent=absent))
            continue
        i = chosen[j]
        rivals = [
            pages[k].page
            for k, other in found
            if other == j and k != i and not _settled(k, j, chosen, found)
        ]
        doubts = tuple(f"page {rival} matches as well" for rival in sorted(rivals))
        laid = found[i, j]
        placements.append(Placement(form_page, pages[i], laid.matrix, laid, doubts))
    return placements


def _settled(
    k: int, j: int, chosen: Mapping[int, int], found: Mapping[tuple[int, int], Registration]
) -> bool:
    """Whether page k of the document is another page of the form, clearly more than page j."""
    own = next((form_page for form_page, page in chosen.items() if page == k), None)
    return own is not None and found[k, own].agreement > found[k, j].agreement + 0.1


def _laid(page: PageMarks, blank: Sheet) -> Registration | str:
    """Where a blank page lies on a document's, or why it does not."""
    if page.error:
        return page.error
    if page.sheet is None:
        return "no image of it"
    if page.sheet.size != (page.width, page.height):
        width, height = page.sheet.size
        return f"{width} x {height} px, its marks are of {page.width} x {page.height} px"
    return register(page.sheet, blank)


@dataclass(frozen=True, eq=False)
class _Spot:
    """A mark in a page's frame."""  # compared by identity

    mark: Mark
    quad: np.ndarray  # (4, 2) float32
    doubts: tuple[str, ...]  # wherever it lies
    shares: tuple[float, ...]  # of it in each zone of the page, of any class
    gaps: tuple[float, ...]  # distance from each zone, 0 where they touch


def _zones(placement: Placement, accept: Mapping[str, float]) -> Iterator[ZoneCheck]:
    """What each zone of a form's page shows."""
    zones, page = placement.form_page.zones, placement.page
    if page is None or placement.matrix is None:
        verdict = MISSING if placement.absent else REVIEW
        why = "; ".join(placement.doubts) or "the document has no such page"
        for zone in zones:
            of_zone = verdict if zone.required or verdict == REVIEW else EMPTY
            number = page.page if page else None
            yield ZoneCheck(zone, placement.form_page.number, number, of_zone, why, (), None)
        return
    quads = [_quad(zone.box, placement.form_page.frame) for zone in zones]
    marks = sorted(page.marks, key=lambda mark: -mark.score)
    spots = [_spot(mark, marks, placement, quads, accept) for mark in marks]
    doubts = [placement.doubts + _unclear(placement, quad) for quad in quads]
    counted = _counted(zones, spots, doubts)
    for i, zone in enumerate(zones):
        shown = tuple(
            MarkCheck(
                spot.mark,
                spot.shares[i],
                spot.gaps[i] / placement.form_page.frame[1],
                (*doubts[i], *spot.doubts, *_misplaced(spot, i, zones)),
            )
            for spot in counted[i]
        )
        others = [spot for zone_spots in counted for spot in zone_spots]
        if sum(not each.doubts for each in shown) >= zone.count:
            verdict, why = COMPLETE, ", ".join(map(_named, shown))
        elif doubts[i]:
            verdict, why = REVIEW, "; ".join(doubts[i])
        elif len(shown) >= zone.count:
            verdict = REVIEW
            why = "; ".join(
                f"{_named(one)}: {', '.join(one.doubts)}" for one in shown if one.doubts
            )
        elif _trace(
            placement, quads[i], [spot for spot in others if spot.mark.label == zone.label]
        ):
            verdict = REVIEW
            why = f"{_lacking(zone, shown)}, but ink that the blank form does not have"
            why += _other(i, zone, spots)
        else:
            verdict = MISSING if zone.required else EMPTY
            why = f"{_lacking(zone, shown)}{_instead(i, zone, spots, counted)}"
        corners = cv2.perspectiveTransform(quads[i][None], placement.matrix)[0]
        number = placement.form_page.number
        yield ZoneCheck(zone, number, page.page, verdict, why, shown, corners)


def _counted(
    zones: Sequence[Zone], spots: Sequence[_Spot], doubts: Sequence[tuple[str, ...]]
) -> list[list[_Spot]]:
    """For each zone the marks that are counted for it, at most as many as it needs, none twice.

    First those beyond doubt: they can be in one zone only. Then as many zones as possible get what
    else lies in them or touches them, required ones first, each mark one zone: a maximum matching,
    by augmenting paths.
    """
    counted: list[list[_Spot]] = [[] for _ in zones]
    for i, zone in enumerate(zones):
        if not doubts[i]:
            good = [
                spot
                for spot in spots
                if spot.mark.label == zone.label and not (spot.doubts or _misplaced(spot, i, zones))
            ]
            counted[i] = good[: zone.count]
    taken = [spot for marks in counted for spot in marks]
    near = [
        sorted(
            (
                spot
                for spot in spots
                if spot.mark.label == zone.label and spot not in taken and spot.gaps[i] <= TOUCHING
            ),
            key=lambda spot: (len(spot.doubts) + len(_misplaced(spot, i, zones)), -spot.mark.score),
        )
        for i, zone in enumerate(zones)
    ]
    holder: dict[_Spot, int] = {}

    def settle(i: int, tried: set[_Spot]) -> bool:
        """Give zone i one more mark, if need be by giving other zones other marks."""
        for spot in near[i]:
            if spot not in tried:
                tried.add(spot)
                if spot not in holder or settle(holder[spot], tried):
                    holder[spot] = i
                    return True
        return False

    for i in sorted(range(len(zones)), key=lambda i: not zones[i].required):
        for _ in range(zones[i].count - len(counted[i])):
            if not settle(i, set()):
                break
    for spot, i in holder.items():
        counted[i].append(spot)
    return counted


def _quad(box: Box, frame: tuple[float, float]) -> np.ndarray:
    """(4, 2) float32 corners of a zone in its page's frame, from the top left clockwise."""
    x0, y0, x1, y1 = box
    return (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) * frame).astype(np.float32)


def _spot(
    mark: Mark,
    marks: Sequence[Mark],
    placement: Placement,
    quads: Sequence[np.ndarray],
    accept: Mapping[str, float],
) -> _Spot:
    """A mark of a page where it lies in the form's frame; `marks` are all, best first."""
    assert placement.matrix is not None
    corners = _quad(mark.box, (1, 1)).astype(np.float64)[None]
    quad = cv2.perspectiveTransform(corners, np.linalg.inv(placement.matrix))[0].astype(np.float32)
    area = cv2.contourArea(quad)
    shares = [cv2.intersectConvexConvex(quad, zone)[0] / area if area else 0.0 for zone in quads]
    gaps = [0.0 if share else _gap(quad, zone) for zone, share in zip(quads, shares, strict=True)]
    doubts = []
    if mark.score < accept[mark.label]:
        doubts.append(f"score below {accept[mark.label]:.2f}")
    for other in marks[: marks.index(mark)]:
        common = _common(mark.box, other.box)
        areas = _area(mark.box), _area(other.box)
        if mark.label == other.label and common > PART * min(areas):
            doubts.append(f"part of another {other.label} ({other.score:.2f})")
        elif mark.label != other.label and common > TWINS * (sum(areas) - common):
            doubts.append(f"taken for a {other.label} as well ({other.score:.2f})")
    laid = placement.registration
    if laid is not None:
        x0, y0, x1, y1 = _bounds(quad, laid.added.shape)
        added = laid.added[y0:y1, x0:x1].sum()
        printed = (laid.printed & laid.reached)[y0:y1, x0:x1].sum()
        if added <= NEW * (added + printed):
            doubts.append("what is there is on the blank form too")
    return _Spot(mark, quad, tuple(doubts), tuple(shares), tuple(gaps))


def _misplaced(spot: _Spot, i: int, zones: Sequence[Zone]) -> tuple[str, ...]:
    """What is doubtful about a mark's place, if it is counted for zone i."""
    doubts = []
    if spot.shares[i] < INSIDE:
        doubts.append(f"{spot.shares[i]:.0%} of it in the zone, limit {INSIDE:.0%}")
    for k, other in enumerate(zones):
        if k != i and other.label == zones[i].label and spot.shares[k] >= ELSEWHERE:
            doubts.append(f"{spot.shares[k]:.0%} of it in zone {other.name!r}")
    return tuple(doubts)


def _unclear(placement: Placement, quad: np.ndarray) -> tuple[str, ...]:
    """What is doubtful about how a zone can be seen."""
    laid = placement.registration
    if laid is None:
        return ()
    x0, y0, x1, y1 = _bounds(quad, laid.seen.shape)
    seen = laid.seen[y0:y1, x0:x1].mean()
    if seen < SEEN:
        return (f"only {seen:.0%} of the zone is on the page",)
    margin = AROUND
    while True:  # the print that is nearest
        x0, y0, x1, y1 = _bounds(quad, laid.seen.shape, margin)
        part = np.s_[y0:y1, x0:x1]
        if (laid.printed & laid.seen)[part].sum() >= LEAST_PRINT or margin > LONG_SIDE:
            break
        margin *= 1.5
    agreed = agreement(laid.printed[part], laid.reached[part], laid.seen[part])
    if agreed < LEAST_AGREEMENT:
        return (
            f"the print around it agrees with the blank page's by {max(0, agreed):.0%}, "
            f"limit {LEAST_AGREEMENT:.0%}",
        )
    return ()


def _trace(placement: Placement, quad: np.ndarray, marks: Sequence[_Spot]) -> bool:
    """Whether a zone has ink that is neither the blank page's nor of `marks`."""
    laid = placement.registration
    if laid is None:
        return False
    x0, y0, x1, y1 = _bounds(quad, laid.added.shape)
    ink = laid.added[y0:y1, x0:x1].astype(np.uint8)
    for spot in marks:
        outline = np.round(spot.quad - (x0, y0)).astype(np.int32)
        cv2.fillConvexPoly(ink, outline, (0,))
        cv2.polylines(ink, [outline], True, (0,), 5)
    return bool(ink.sum() >= TRACE)


def _named(each: MarkCheck) -> str:
    return f"{each.mark.label} {each.mark.score:.2f}, {each.inside:.0%} inside"


def _lacking(zone: Zone, marks: Sequence[MarkCheck]) -> str:
    """What a zone needs and has."""
    if zone.count == 1:
        return f"no {zone.label}"
    return f"{len(marks)} of {zone.count} {zone.label}s"


def _instead(i: int, zone: Zone, spots: Sequence[_Spot], counted: Sequence[Sequence[_Spot]]) -> str:
    """What else there is in or near zone i that lacks a mark."""
    if other := _other(i, zone, spots):
        return other
    taken = [spot for marks in counted for spot in marks]
    free = [spot for spot in spots if spot.mark.label == zone.label and spot not in taken]
    if not free:
        return ""
    nearest = min(free, key=lambda spot: spot.gaps[i])
    gap = nearest.gaps[i] / LONG_SIDE
    return f"; the nearest ({nearest.mark.score:.2f}) is {gap:.0%} of the page's length away"


def _other(i: int, zone: Zone, spots: Sequence[_Spot]) -> str:
    """The best mark of another class in zone i, if there is one."""
    for spot in spots:
        if spot.mark.label != zone.label and spot.shares[i] >= INSIDE:
            return f"; a {spot.mark.label} ({spot.mark.score:.2f}) is there"
    return ""


def _bounds(
    quad: np.ndarray, shape: tuple[int, ...], margin: float = 0.0
) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of the whole pixels around a quad and a margin, within (h, w), not empty."""
    low, high = np.floor(quad.min(axis=0) - margin), np.ceil(quad.max(axis=0) + margin)
    x0, y0 = np.clip(low, 0, (shape[1] - 1, shape[0] - 1)).astype(int)
    x1, y1 = np.clip(high, (x0 + 1, y0 + 1), shape[::-1]).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _gap(quad: np.ndarray, zone: np.ndarray) -> float:
    """Distance between the upright boxes around two quads."""
    apart = np.maximum(quad.min(axis=0) - zone.max(axis=0), zone.min(axis=0) - quad.max(axis=0))
    return float(np.linalg.norm(apart.clip(0)))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _common(box: Box, other: Box) -> float:
    """Area of the part that two boxes share."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height)
