"""What a request asks about its file: pages, dpi and the detector's settings."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from countersign.messages import OPERATING_POINTS
from gateway.problems import Problem

DPI = (18, 600)
RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
KNOWN = "confidence, confidence_<class>, dpi, iou, max_detections, operating_point, pages"
Number = float | int | str


@dataclass(frozen=True)
class Asked:
    """The parameters of a request, checked."""

    detector: dict[str, Number] = field(default_factory=dict)  # as the ensembles take them
    pages: tuple[range, ...] = ()  # all if empty
    dpi: int | None = None

    @property
    def operating_point(self) -> str:
        """Which of the model's own thresholds hold where none are given."""
        return str(self.detector.get("operating_point", OPERATING_POINTS[0]))

    def numbers(self, page_count: int) -> list[int]:
        """The pages that are asked for, each once and in order. Raises Problem 400."""
        if not self.pages:
            return list(range(1, page_count + 1))
        for each in self.pages:
            if each[-1] > page_count:
                raise bad("pages", str(each[-1]), f"limit {page_count}, the document's pages")
        return sorted({number for each in self.pages for number in each})


def bad(name: str, value: str, expected: str) -> Problem:
    """400: a parameter is none."""
    return Problem(400, f"{name}: {value!r}, {expected}", "urn:countersign:bad-setting")


def asked(parameters: Mapping[str, str], others: tuple[str, ...] = ()) -> Asked:
    """What `parameters` ask for; those named in `others` are for somebody else.

    Raises Problem 400 for one that is unknown, and for a value that it does not take.
    """
    detector: dict[str, Number] = {}
    pages: tuple[range, ...] = ()
    dpi = None
    for name, text in parameters.items():
        if name in others:
            continue
        if name == "pages":
            pages = ranges(text)
        elif name == "dpi":
            dpi = whole(name, text, *DPI)
        elif name == "max_detections":
            detector[name] = whole(name, text, 1, 10**6)
        elif name == "operating_point":
            if text not in OPERATING_POINTS:
                raise bad(name, text, f"expected {' or '.join(OPERATING_POINTS)}")
            detector[name] = text
        elif name in ("confidence", "iou") or re.fullmatch("confidence_.+", name):
            detector[name] = fraction(name, text)
        else:
            raise bad("parameter", name, f"unknown, known are {KNOWN}")
    return Asked(detector, pages, dpi)


def ranges(text: str) -> tuple[range, ...]:
    """1-3,7 as ranges. Raises Problem 400."""
    found = []
    for each in text.split(","):
        match = RANGE.fullmatch(each.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if not 1 <= first <= last:
            raise bad("pages", text[:80], "expected numbers from 1 and ranges, as 1-3,7")
        found.append(range(first, last + 1))
    return tuple(found)


def whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number. Raises Problem 400."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise bad(name, text[:80], f"limit {least} to {most}")
    return int(text)


def fraction(name: str, text: str) -> float:
    """A number in [0, 1]. Raises Problem 400."""
    try:
        number = float(text.encode("ascii"))
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise bad(name, text[:80], "limit 0 to 1")
    return number
