"""Forms: are the right marks in the right places?

from gateway.forms import PageMarks, check, load

forms = load(Path("forms"))
print(check(forms["loan"], pages, {"signature": 0.76, "stamp": 0.73}).verdict)
"""

from gateway.forms.checking import (
    Check,
    Mark,
    MarkCheck,
    PageMarks,
    Placement,
    ZoneCheck,
    check,
    judge,
    place,
    seen_upright,
)
from gateway.forms.folder import Forms
from gateway.forms.form import Form, FormError, FormPage, Reference, Zone, load, read
from gateway.forms.learning import Learned, learn
from gateway.forms.pages import Sheet, open_page, turned_back, upright
from gateway.forms.rows import check_body, form_row, found_marks

__all__ = [
    "Check",
    "Form",
    "FormError",
    "FormPage",
    "Forms",
    "Learned",
    "Mark",
    "MarkCheck",
    "PageMarks",
    "Placement",
    "Reference",
    "Sheet",
    "Zone",
    "ZoneCheck",
    "check",
    "check_body",
    "form_row",
    "found_marks",
    "judge",
    "learn",
    "load",
    "open_page",
    "place",
    "read",
    "seen_upright",
    "turned_back",
    "upright",
]
