"""Forms and their checks as JSON has them, and detections as checks take them."""

from typing import Any

from countersign.messages import Detections
from gateway.forms.checking import Check, Mark, Placement, ZoneCheck
from gateway.forms.form import Form


def found_marks(found: Detections) -> tuple[Mark, ...]:
    """The detections as forms take them."""
    return tuple(Mark(one.label, one.score, one.box) for one in found)


def form_row(form: Form) -> dict[str, Any]:
    """A form as answers.Form describes it."""
    zones = [
        {
            "name": zone.name,
            "page": page.number,
            "class": zone.label,
            "count": zone.count,
            "required": zone.required,
            "box": zone.box,
        }
        for page in form.pages
        for zone in page.zones
    ]
    return {"name": form.name, "title": form.title, "pages": len(form.pages), "zones": zones}


def check_body(form: Form, checked: Check) -> dict[str, Any]:
    """A check as answers.FormCheck describes it."""
    return {
        "form": checked.form,
        "title": form.title,
        "verdict": checked.verdict,
        "why": checked.why,
        "pages": [placed_row(each) for each in checked.pages],
        "zones": [zone_row(each) for each in checked.zones],
        "extra_pages": list(checked.extra),
    }


def placed_row(placed: Placement) -> dict[str, Any]:
    """Where a page of the form is, as answers.PlacedPage describes it."""
    laid = placed.registration
    return {
        "page": placed.form_page.number,
        "document_page": None if placed.page is None else placed.page.page,
        "matched": placed.matrix is not None,
        "turned": 0 if laid is None else laid.turned,
        "agreement": None if laid is None else round(laid.agreement, 3),
        "why": "; ".join(placed.doubts) or ("not in the document" if placed.absent else ""),
    }


def zone_row(shown: ZoneCheck) -> dict[str, Any]:
    """A zone as answers.CheckedZone describes it."""
    corners = shown.corners
    return {
        "name": shown.zone.name,
        "page": shown.form_page,
        "document_page": shown.page,
        "class": shown.zone.label,
        "count": shown.zone.count,
        "required": shown.zone.required,
        "verdict": shown.verdict,
        "why": shown.why,
        "polygon": None if corners is None else corners.astype(float).round(1).tolist(),
        "detections": [
            {
                "class": each.mark.label,
                "confidence": round(each.mark.score, 4),
                "bbox": [round(edge, 1) for edge in each.mark.box],
                "inside": round(each.inside, 3),
                "distance": round(each.distance, 3),
                "doubts": list(each.doubts),
            }
            for each in shown.marks
        ],
    }
