"""Which pages a person should look at, and why.

near          a mark's score is nearer than NEAR to the accept threshold of its class, or a form's
              check of the document says that a zone of this page needs review
disagreeing   the marks at or above accept are not those of the last answer about this page (by
              another version or model, at another resolution), or the PDF says of itself that a
              signed signature field or a stamp stands where the model sees no such mark
random        drawn by the digest of file and page, so that the same page is always drawn or never,
              whoever draws

A page that failed is none of these.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

NEAR = 0.1  # of the score
SAME = 0.5  # overlap (intersection over union) from which two boxes are the same mark
RANDOM_SHARE = 0.01  # of all pages

Box = Sequence[float]  # x0, y0, x1, y1
Marks = dict[str, list[Box]]  # by class, in shares of the page


def near(page: Mapping[str, Any], accept: Mapping[str, float], check: Mapping | None) -> bool:
    """Whether a score of the answered page is near its threshold, or a check doubts one of its
    zones.
    """
    close = any(
        abs(mark["confidence"] - accept[mark["class"]]) < NEAR
        for mark in page.get("detections", ())
        if mark["class"] in accept
    )
    zones = (check or {}).get("zones", ())
    return close or any(
        zone["document_page"] == page["page"] and zone["verdict"] == "review" for zone in zones
    )


def disagrees(page: Mapping[str, Any], least: Mapping[str, float], before: Marks | None) -> bool:
    """Whether the page's marks are not those of `before`, or not those that the PDF speaks of.

    `least` is the score from which a mark counts, by class; `before` are the marks from there on of
    the last answer, None if there was none.
    """
    marks = marks_of(page, least)
    changed = before is not None and any(
        not same(marks.get(label, []), before.get(label, [])) for label in marks.keys() | before
    )
    return changed or any(
        label in least and not any(touch(box, mark) for mark in marks.get(label, []))
        for label, box in said_by_pdf(page)
    )


def comparable(thresholds: Mapping[str, float], accept: Mapping[str, float]) -> bool:
    """Whether an answer down to `thresholds` has all marks at or above accept."""
    return bool(accept) and all(
        thresholds.get(label, 0) <= score for label, score in accept.items()
    )


def drawn(digest: str, page: int, share: float) -> bool:
    """Whether a page of the file with that SHA-256 is among the random `share` of all pages."""
    number = int.from_bytes(sha256(f"{digest}:{page}".encode()).digest()[:8], "big")
    return number < share * 2**64


def marks_of(page: Mapping[str, Any], least: Mapping[str, float]) -> Marks:
    """The boxes of an answered page at or above `least`, by class, in shares of the page."""
    found: Marks = {}
    for mark in page.get("detections", ()):
        if mark["confidence"] >= least.get(mark["class"], 0):
            box = shares(mark["bbox"], page["width"], page["height"])
            found.setdefault(mark["class"], []).append(box)
    return found


def said_by_pdf(page: Mapping[str, Any]) -> Iterable[tuple[str, Box]]:
    """Class and box, in shares of the page, of what a PDF says to be signed or stamped."""
    size = page.get("width_points", 0.0), page.get("height_points", 0.0)
    for field in page.get("signature_fields") or ():
        if field["signed"] and field["bbox_points"] and area(field["bbox_points"]):
            yield "signature", shares(field["bbox_points"], *size)
    for stamp in page.get("stamp_annotations") or ():
        if stamp["bbox_points"] and area(stamp["bbox_points"]):
            yield "stamp", shares(stamp["bbox_points"], *size)


def same(some: Sequence[Box], others: Sequence[Box]) -> bool:
    """Whether each box has a partner of its own that it overlaps by SAME or more, and none is left.

    Partners are taken by overlap, the largest first.
    """
    if len(some) != len(others):
        return False
    pairs = sorted(
        ((overlap(a, b), i, j) for i, a in enumerate(some) for j, b in enumerate(others)),
        reverse=True,
    )
    left, right = set(range(len(some))), set(range(len(others)))
    for share, i, j in pairs:
        if share >= SAME and i in left and j in right:
            left.remove(i)
            right.remove(j)
    return not left


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 if both are empty."""
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - common
    return common / union if union else 0.0


def touch(a: Box, b: Box) -> bool:
    """Whether two boxes have a point in common."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def area(box: Box) -> float:
    """Of a box; 0 if it is turned inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def shares(box: Box, width: float, height: float) -> Box:
    """A box as shares of a page of that size."""
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height
