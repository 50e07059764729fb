"""What a form asks for: pages with zones, read from forms/*.yaml and written as such.

    title: Loan application
    page_count: 2                     # optional; a document of another length is for review
    pages:
      - page: 2
        reference: loan-2.png         # optional: the blank page, a file beside this one
        zones:
          - name: applicant
            class: signature          # or stamp
            box: [0.12, 0.80, 0.48, 0.88]    # x0 y0 x1 y1 in fractions of the page
          - name: branch
            class: stamp
            field: [620, 1400, 900, 1600]    # the same in pixels of the reference
            count: 1                  # how many marks are needed, 1 if left out
            required: false           # true if left out

The form's name is that of its file.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.forms.pages import LONG_SIDE, Sheet, open_page

CLASSES = ("signature", "stamp")
MAX_PAGES = 100  # the number of a form's page
MAX_ZONES = 100  # of a page
MAX_COUNT = 20  # marks of a zone
LEAST_SIDE = 0.01  # of the page: a zone's width and height
A4 = 210 / 297  # width over height
OVERLAP = 0.1  # share of a zone that another of its class may cover

Box = tuple[float, float, float, float]  # x0 y0 x1 y1


class FormError(ValueError):
    """A form that cannot be used; the text names the file, the place, the value and the limit."""


@dataclass(frozen=True)
class Zone:
    """Where marks of one class are expected."""

    name: str
    label: str  # one of CLASSES
    box: Box  # fractions of the page
    count: int = 1  # marks that it needs
    required: bool = True
    note: str = ""  # how it came about, a comment of the YAML


@dataclass(frozen=True)
class Reference:
    """A blank page."""

    file: str  # its name, beside the form's
    sheet: Sheet


@dataclass(frozen=True)
class FormPage:
    """One page of a form."""

    number: int  # from 1
    zones: tuple[Zone, ...]
    reference: Reference | None = None
    aspect: float | None = None  # width over height; None if it may be any

    @property
    def frame(self) -> tuple[float, float]:
        """Width and height in which zones and distances are measured: LONG_SIDE along the longer.

        Those of the shrunk reference, if there is one; else A4's, or as `aspect` says.
        """
        if self.reference is not None:
            height, width = self.reference.sheet.grey.shape
            return width, height
        aspect = self.aspect or A4
        return LONG_SIDE * min(1.0, aspect), LONG_SIDE * min(1.0, 1 / aspect)


@dataclass(frozen=True)
class Form:
    """What a document must show to be complete."""

    name: str
    pages: tuple[FormPage, ...]
    title: str = ""
    page_count: int | None = None  # of the whole document; None if it may be any

    def to_yaml(self) -> str:
        """The text of its file. Reading that gives the form again, notes apart."""
        lines = [f"title: {_quoted(self.title)}"] if self.title else []
        if self.page_count is not None:
            lines.append(f"page_count: {self.page_count}")
        lines.append("pages:")
        for page in self.pages:
            lines.append(f"  - page: {page.number}")
            if page.reference is not None:
                lines.append(f"    reference: {_quoted(page.reference.file)}")
            elif page.aspect is not None:
                lines.append(f"    aspect: {page.aspect:.4f}")
            lines.append("    zones:")
            for zone in page.zones:
                note = f"  # {zone.note}" if zone.note else ""
                box = ", ".join(f"{edge:.4f}" for edge in zone.box)
                lines += [
                    f"      - name: {_quoted(zone.name)}{note}",
                    f"        class: {zone.label}",
                ]
                lines.append(f"        box: [{box}]")
                if zone.count != 1:
                    lines.append(f"        count: {zone.count}")
                if not zone.required:
                    lines.append("        required: false")
        return "\n".join(lines) + "\n"


def load(folder: Path) -> dict[str, Form]:
    """The forms of a folder by name. FormError for the first one that cannot be used."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.yaml"))}


def read(path: Path) -> Form:
    """The form in a file. FormError if it cannot be used."""
    try:
        written = yaml.load(path.read_bytes(), _Loader)
    except OSError as error:
        raise FormError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise FormError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    except (ValueError, LookupError, AttributeError) as error:  # as PyYAML of a date that is none
        raise FormError(f"{path}: no YAML: a value is not what it seems to be: {error}") from error
    return parse(written, path)


def parse(written: object, path: Path) -> Form:
    """The form of a YAML document; references lie beside `path`. FormError if it is none."""
    fields = _fields(written, str(path), ("title", "page_count", "pages"))
    count = fields.get("page_count")
    if count is not None:
        _whole(count, f"{path}: page_count", MAX_PAGES)
    pages = tuple(
        _page(page, f"{path}: page number {i} of the list", path)
        for i, page in enumerate(_list(fields, "pages", str(path), MAX_PAGES), 1)
    )
    names: set[str] = set()
    numbers: set[int] = set()
    for page in pages:
        if page.number in numbers:
            raise FormError(f"{path}: page {page.number}: twice, limit once")
        numbers.add(page.number)
        for zone in page.zones:
            if zone.name in names:
                raise FormError(
                    f"{path}: page {page.number}: zone {zone.name!r}: twice, limit once"
                )
            names.add(zone.name)
        check_apart(page.zones, f"{path}: page {page.number}")
    if count is not None and max(numbers) > count:
        raise FormError(f"{path}: page {max(numbers)}, limit {count}, the page_count")
    if not any(zone.required for page in pages for zone in page.zones):
        raise FormError(f"{path}: no zone is required, so that any document would be complete")
    return Form(path.stem, pages, _text(fields.get("title", ""), f"{path}: title"), count)


def check_apart(zones: Sequence[Zone], where: str) -> None:
    """FormError if two zones of a class share so much that one mark may lie in both."""
    for i, zone in enumerate(zones):
        for other in zones[:i]:
            share = _shared(zone.box, other.box)
            if zone.label == other.label and share > OVERLAP:
                raise FormError(
                    f"{where}: zones {other.name!r} and {zone.name!r}, both for a {zone.label}, "
                    f"share {share:.0%} of the smaller, limit {OVERLAP:.0%}: one mark would be in "
                    "both; make them smaller, or one zone with a count"
                )


def _page(written: object, where: str, path: Path) -> FormPage:
    fields = _fields(written, where, ("page", "reference", "aspect", "zones"))
    if "page" not in fields:
        raise FormError(f"{where}: page: left out, limit a whole number from 1")
    number = _whole(fields["page"], f"{where}: page", MAX_PAGES)
    where = f"{path}: page {number}"
    reference = _reference(fields["reference"], where, path) if "reference" in fields else None
    aspect = fields.get("aspect")
    if aspect is not None:
        if reference is not None:
            raise FormError(f"{where}: aspect: {aspect!r}, but the reference has one")
        aspect = _number(aspect, f"{where}: aspect", 0.1, 10)
    size = reference.sheet.size if reference else None
    zones = tuple(
        _zone(zone, f"{where}: zone number {i} of the list", where, size)
        for i, zone in enumerate(_list(fields, "zones", where, MAX_ZONES), 1)
    )
    return FormPage(number, zones, reference, aspect)


def _zone(written: object, where: str, page: str, size: tuple[int, int] | None) -> Zone:
    fields = _fields(written, where, ("name", "class", "box", "field", "count", "required"))
    name = _text(fields.get("name", ""), f"{where}: name")
    if not name:
        raise FormError(f"{where}: name: empty or left out")
    where = f"{page}: zone {name!r}"
    label = fields.get("class")
    if label not in CLASSES:
        raise FormError(f"{where}: class: {label!r}, limit one of {', '.join(CLASSES)}")
    if ("box" in fields) == ("field" in fields):
        raise FormError(f"{where}: needs a box in fractions of the page, or a field in pixels")
    if "box" in fields:
        box = _box(fields["box"], f"{where}: box", (1, 1), "fractions of the page")
    elif size is None:
        raise FormError(f"{where}: field: {fields['field']!r}, but its page has no reference")
    else:
        x0, y0, x1, y1 = _box(fields["field"], f"{where}: field", size, "pixels of the reference")
        box = (x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1])
    if min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
        width, height = box[2] - box[0], box[3] - box[1]
        raise FormError(
            f"{where}: {width:.2%} x {height:.2%} of the page, limit {LEAST_SIDE:.0%} a side"
        )
    required = fields.get("required", True)
    if not isinstance(required, bool):
        raise FormError(f"{where}: required: {required!r}, limit true or false")
    count = _whole(fields.get("count", 1), f"{where}: count", MAX_COUNT)
    return Zone(name, str(label), box, count, required)


def _reference(written: object, where: str, path: Path) -> Reference:
    where = f"{where}: reference"
    name = _text(written, where)
    if not name or Path(name).name != name:
        raise FormError(f"{where}: {name!r}, limit the name of a file beside {path.name}")
    try:
        sheet = open_page((path.parent / name).read_bytes())
    except OSError as error:
        raise FormError(f"{where}: {name!r}: {error.strerror}") from error
    except ValueError as error:
        raise FormError(f"{where}: {name!r}: {error}") from error
    if reason := sheet.unfit():
        raise FormError(f"{where}: {name!r}: {reason}")
    return Reference(name, sheet)


def _box(written: object, where: str, size: tuple[int, int], unit: str) -> Box:
    if not isinstance(written, list) or len(written) != 4:
        raise FormError(f"{where}: {written!r}, limit four numbers x0, y0, x1, y1")
    x0, y0, x1, y1 = (
        _number(edge, f"{where}: {name}", 0, size[i % 2], unit)
        for i, (name, edge) in enumerate(zip(("x0", "y0", "x1", "y1"), written, strict=True))
    )
    if x0 >= x1 or y0 >= y1:
        raise FormError(f"{where}: {written!r}, limit x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _fields(written: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise FormError(f"{where}: {_short(written)}, limit a mapping with {', '.join(known)}")
    for key in written:
        if key not in known:
            raise FormError(f"{where}: {_short(key)}: unknown, limit {', '.join(known)}")
    return written


def _list(fields: dict[str, Any], key: str, where: str, most: int) -> list[object]:
    written = fields.get(key)
    if not isinstance(written, list) or not 1 <= len(written) <= most:
        count = f"{len(written)} of them" if isinstance(written, list) else _short(written)
        raise FormError(f"{where}: {key}: {count}, limit a list of 1 to {most}")
    return written


def _text(written: object, where: str) -> str:
    if not isinstance(written, str) or len(written) > 200 or not written.isprintable():
        raise FormError(f"{where}: {_short(written)}, limit a line of 200 characters")
    return written.strip()


def _whole(written: object, where: str, most: int) -> int:
    if not isinstance(written, int) or isinstance(written, bool) or not 1 <= written <= most:
        raise FormError(f"{where}: {_short(written)}, limit a whole number 1 to {most}")
    return written


def _number(written: object, where: str, least: float, most: float, unit: str = "") -> float:
    good = isinstance(written, int | float) and not isinstance(written, bool)
    if not good or not least <= written <= most:  # type: ignore[operator]  # nor NaN
        raise FormError(f"{where}: {_short(written)}, limit {least:g} to {most:g} {unit}".rstrip())
    return float(written)  # type: ignore[arg-type]


def _short(written: object) -> str:
    text = repr(written)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _quoted(text: str) -> str:
    """A text as a YAML scalar on one line."""
    return yaml.safe_dump(text, allow_unicode=True, width=math.inf).removesuffix("...\n").strip()


def _shared(box: Box, other: Box) -> float:
    """The part that two boxes share, as a share of the smaller."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (box, other)]
    return max(0.0, width) * max(0.0, height) / min(areas)


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes no key twice, where YAML's own keeps the last, and no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "an alias, limit none", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if key.value in keys if isinstance(key.value, str) else False:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} twice, limit once", key.start_mark
                )
            keys.add(str(key.value))
        return super().construct_mapping(node, deep)
