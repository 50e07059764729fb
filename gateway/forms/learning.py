"""Makes a form from a few good examples: zones where marks recur, on a blank page made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from gateway.forms.checking import NEW, Mark, PageMarks
from gateway.forms.form import Box, Form, FormError, FormPage, Reference, Zone
from gateway.forms.pages import Sheet
from gateway.forms.registration import Registration, register

LEAST_EXAMPLES = 3
REQUIRED = 0.8  # share of the examples that show a mark, for it to be required
OPTIONAL = 0.4  # likewise to be a zone at all, and of those where it is beyond doubt
TOGETHER = 0.3  # share of the smaller mark that two share, to be in one place
MARGIN = 0.15  # of a zone's width and height, around the marks that were seen
LEAST_MARGIN = 0.012  # of the page


@dataclass(frozen=True)
class Learned:
    """A form, and the files of the blank pages that it refers to."""

    form: Form
    files: Mapping[str, bytes]  # PNG by name


@dataclass(frozen=True)
class _Seen:
    """A mark of an example."""

    example: int
    mark: Mark
    box: Box  # fractions of the form's page


def learn(
    name: str,
    examples: Sequence[Sequence[PageMarks]],
    accept: Mapping[str, float],
    blanks: Mapping[int, Sheet] | None = None,
) -> Learned:
    """The form that documents of the same kind have in common; `blanks` are blank pages by number.

    Page k of each example is page k of the form. Where the pages come with sheets and no blank is
    given, one is made: what is printed on all of them. Marks of both operating points are counted,
    but some must be above `accept`. FormError if the examples are too few, do not lie on each
    other, or have no mark in common.
    """
    if len(examples) < LEAST_EXAMPLES:
        raise FormError(f"examples: {len(examples)}, limit at least {LEAST_EXAMPLES}")
    for i, example in enumerate(examples, 1):
        for page in example:
            if page.error:
                raise FormError(f"example {i}, page {page.page}: {page.error}")
    counts = {len(example) for example in examples}
    pages: list[FormPage] = []
    files: dict[str, bytes] = {}
    for number in range(1, min(counts) + 1):
        column = [example[number - 1] for example in examples]
        blank = (blanks or {}).get(number)
        learned, file = _page(name, number, column, accept, blank)
        if learned is not None:
            pages.append(learned)
            if learned.reference is not None:
                files[learned.reference.file] = file
    if not any(zone.required for page in pages for zone in page.zones):
        raise FormError(
            f"examples: no mark is in one place on {REQUIRED:.0%} of the {len(examples)}, "
            "so that no zone would be required"
        )
    count = counts.pop() if len(counts) == 1 else None
    return Learned(Form(name, _named(pages), page_count=count), files)


def _page(
    name: str,
    number: int,
    examples: Sequence[PageMarks],
    accept: Mapping[str, float],
    blank: Sheet | None,
) -> tuple[FormPage | None, bytes]:
    """A page of the form with its unnamed zones, None if it has none, and its blank's file."""
    reference, file, aspect = None, b"", None
    sheets = [page.sheet for page in examples if page.sheet is not None]
    if len(sheets) == len(examples):
        sheet = common_print(sheets, number) if blank is None else blank
        if reason := sheet.unfit():
            raise FormError(f"page {number}: the blank page: {reason}")
        laid = [register(each, sheet) for each in sheets]
        seen = []
        for i, (page, on) in enumerate(zip(examples, laid, strict=True), 1):
            if isinstance(on, str):
                raise FormError(f"example {i}, page {number}: {on}")
            seen += _on_blank(i, page, on)
        file = cv2.imencode(".png", sheet.grey)[1].tobytes()
        reference = Reference(f"{name}-{number}.png", Sheet(_size(sheet), sheet.grey))
    else:
        aspects = [page.width / page.height for page in examples]
        aspect = float(np.median(aspects))
        seen = [
            _Seen(i, mark, _fractions(mark.box, page))
            for i, page in enumerate(examples, 1)
            for mark in page.marks
        ]
    zones = _zones(seen, len(examples), accept)
    return (FormPage(number, zones, reference, aspect) if zones else None), file


def _size(sheet: Sheet) -> tuple[int, int]:
    """Width and height of its pixels."""
    height, width = sheet.grey.shape
    return width, height


def common_print(sheets: Sequence[Sheet], number: int = 1) -> Sheet:
    """The blank page of filled ones: what is dark on all of them, laid onto one of them.

    FormError with the reason if they do not lie on each other.
    """
    refused = ""
    for i, base in enumerate(sheets):
        if base.unfit():
            continue
        tried = [_laid(each, base) for each in sheets if each is not base]
        laid = [each for each in tried if not isinstance(each, str)]
        if reasons := [each for each in tried if isinstance(each, str)]:
            refused = refused or f"on example {i + 1}: {reasons[0]}"
            continue
        # print may be a pixel off: it is made broader before what all have is kept, then thinner
        broad = [cv2.erode(_even(base.grey), np.ones((3, 3), np.uint8))]
        broad += [cv2.erode(each, np.ones((3, 3), np.uint8)) for each in laid]
        common = np.max(broad, axis=0)
        return Sheet(_size(base), cv2.dilate(common, np.ones((3, 3), np.uint8)))
    raise FormError(
        f"page {number}: the examples do not lie on each other: {refused or 'no print'}"
    )


def _laid(page: Sheet, base: Sheet) -> np.ndarray | str:
    """(h, w) uint8 of `base`: an example's page as it lies on it; white where it is cut off."""
    laid = register(page, base)
    if isinstance(laid, str):
        return laid
    shrink = np.diag([page.grey.shape[1] / page.size[0], page.grey.shape[0] / page.size[1], 1.0])
    size = base.grey.shape[1], base.grey.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    even = cv2.warpPerspective(
        _even(page.grey), shrink @ laid.matrix, size, flags=flags, borderValue=(255,)
    )
    return np.where(laid.seen, even, _even(base.grey)).astype(np.uint8)


def _even(grey: np.ndarray) -> np.ndarray:
    """The page without its shadows: paper is white."""
    paper = cv2.medianBlur(cv2.dilate(grey, np.ones((15, 15), np.uint8)), 31)
    return cv2.divide(grey, np.maximum(paper, 1), scale=255)


def _on_blank(example: int, page: PageMarks, laid: Registration) -> list[_Seen]:
    """The marks of an example that are not on the blank page."""
    back = np.linalg.inv(laid.matrix)
    height, width = laid.added.shape
    seen = []
    for mark in page.marks:
        x0, y0, x1, y1 = mark.box
        corners = np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]], np.float64)
        quad = cv2.perspectiveTransform(corners, back)[0] / (width, height)
        box = (*quad.min(axis=0).clip(0, 1), *quad.max(axis=0).clip(0, 1))
        left, top, right, foot = (np.array(box) * (width, height, width, height)).astype(int)
        added = laid.added[top:foot, left:right].sum()
        printed = (laid.printed & laid.reached)[top:foot, left:right].sum()
        if added > NEW * (added + printed):
            seen.append(_Seen(example, mark, tuple(map(float, box))))  # type: ignore[arg-type]
    return seen


def _fractions(box: Box, page: PageMarks) -> Box:
    x0, y0, x1, y1 = box
    edges = (x0 / page.width, y0 / page.height, x1 / page.width, y1 / page.height)
    x0, y0, x1, y1 = (min(1.0, max(0.0, edge)) for edge in edges)
    return x0, y0, x1, y1


def _zones(seen: Sequence[_Seen], examples: int, accept: Mapping[str, float]) -> tuple[Zone, ...]:
    """Zones where marks recur, from the top down, without names."""
    zones = []
    left = list(seen)
    while left:
        groups = [_together(one, left) for one in left]
        group = max(groups, key=lambda group: (len(group), sum(one.mark.score for one in group)))
        left = [one for one in left if one not in group]
        sure = sum(one.mark.score >= accept[one.mark.label] for one in group)
        if min(len(group), sure) < max(2, OPTIONAL * examples):
            if len(group) < 2:
                break
            continue
        scores = [one.mark.score for one in group]
        note = (
            f"on {len(group)} of {examples} examples, scores {min(scores):.2f} to {max(scores):.2f}"
        )
        boxes = np.array([one.box for one in group])
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        margin = np.maximum(MARGIN * (high - low), LEAST_MARGIN)
        box = (*(low - margin).clip(0, 1), *(high + margin).clip(0, 1))
        required = len(group) >= REQUIRED * examples
        edges = tuple(round(float(edge), 4) for edge in box)
        zones.append(Zone("", group[0].mark.label, edges, 1, required, note))  # type: ignore
    return _apart(sorted(zones, key=lambda zone: (round(zone.box[1], 2), zone.box[0])))


def _together(one: _Seen, others: Sequence[_Seen]) -> list[_Seen]:
    """The marks in the place of `one`, itself included: the likeliest one of each example."""
    group = {one.example: (2.0, one)}
    for other in others:
        if other.mark.label == one.mark.label and other.example != one.example:
            share = _shared(one.box, other.box)
            if share >= TOGETHER and share > group.get(other.example, (0.0,))[0]:
                group[other.example] = share, other
    return [each for _, each in group.values()]


def _apart(zones: Sequence[Zone]) -> tuple[Zone, ...]:
    """The zones, those of a class parted in the middle of what they share."""
    parted = list(zones)
    for i in range(len(parted)):
        for k in range(i):
            first, second = list(parted[k].box), list(parted[i].box)
            if parted[i].label != parted[k].label or not _shared(parted[i].box, parted[k].box):
                continue
            widths = [min(first[2 + a], second[2 + a]) - max(first[a], second[a]) for a in (0, 1)]
            axis = int(widths[1] < widths[0])
            if first[axis] > second[axis]:
                first, second = second, first
            middle = round((first[2 + axis] + second[axis]) / 2, 4)
            first[2 + axis] = second[axis] = middle
            if parted[k].box[axis] > parted[i].box[axis]:
                first, second = second, first
            parted[k] = replace(parted[k], box=tuple(first))  # type: ignore[arg-type]
            parted[i] = replace(parted[i], box=tuple(second))  # type: ignore[arg-type]
    return tuple(parted)


def _named(pages: Sequence[FormPage]) -> tuple[FormPage, ...]:
    """The pages, their zones named by class and number."""
    numbers: dict[str, int] = {}
    named = []
    for page in pages:
        zones = []
        for zone in page.zones:
            numbers[zone.label] = numbers.get(zone.label, 0) + 1
            zones.append(replace(zone, name=f"{zone.label} {numbers[zone.label]}"))
        named.append(replace(page, zones=tuple(zones)))
    return tuple(named)


def _shared(box: Box, other: Box) -> float:
    """The part that two boxes share, as a share of the smaller."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    areas = [max(1e-9, (one[2] - one[0]) * (one[3] - one[1])) for one in (box, other)]
    return max(0.0, width) * max(0.0, height) / min(areas)
