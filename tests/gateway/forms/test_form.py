"""Forms are read from YAML, and what cannot be used is refused by file, place, value and limit."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from gateway.forms import Form, FormError, FormPage, Forms, Zone, load, read

ZONE = {"name": "applicant", "class": "signature", "box": [0.1, 0.8, 0.5, 0.9]}


class Plain(yaml.SafeDumper):
    """Writes what stands twice twice, not as an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def written(folder: Path, form: object, name: str = "loan") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(form if isinstance(form, str) else yaml.dump(form, Dumper=Plain))
    return path


def pages(*zones: dict, **more: object) -> dict:
    return {"pages": [{"page": 1, "zones": list(zones), **more}]}


@pytest.fixture
def blank(tmp_path) -> Path:
    """A page of 700 x 1000 px full of print."""
    page = np.full((1000, 700), 255, np.uint8)
    for row in range(30):
        text = f"Clause {row}: {chr(65 + row % 26) * 3} shall {row * 37 % 101} pay"
        cv2.putText(page, text, (30, 30 + 30 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0,), 2)
    cv2.imwrite(str(tmp_path / "loan-1.png"), page)
    return tmp_path / "loan-1.png"


def test_a_form_is_read_as_it_is_written(tmp_path, blank):
    field = {"name": "bank", "class": "stamp", "field": [70, 100, 350, 400], "count": 2}
    form = pages(ZONE, field | {"required": False}, reference="loan-1.png")
    form |= {"title": "A loan", "page_count": 3}
    read_form = read(written(tmp_path, form))
    assert (read_form.name, read_form.title, read_form.page_count) == ("loan", "A loan", 3)
    (page,) = read_form.pages
    assert page.zones[0] == Zone("applicant", "signature", (0.1, 0.8, 0.5, 0.9), 1, True)
    assert page.zones[1] == Zone("bank", "stamp", (0.1, 0.1, 0.5, 0.4), 2, False)
    assert page.frame == (700, 1000)
    assert load(tmp_path).keys() == {"loan"}


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("pages: [", "loan.yaml: no YAML"),
        ("title: 2026-99-99", "no YAML: a value is not what it seems to be: month must"),
        ("title: !!bool x", "no YAML: a value is not what it seems to be"),
        ("title: !!timestamp x", "no YAML: a value is not what it seems to be"),
        (pages(ZONE | {"box": [0.1, 0.8, 10**400, 0.9]}), "box: x1: 1000.*, limit 0 to 1"),
        ("pages: 3", "pages: 3, limit a list of 1 to 100"),
        ("[]", r"\[\], limit a mapping with title, page_count, pages"),
        ("pages: []\npages: []", "key 'pages' twice, limit once"),
        ("pages: &a [*a]", "an alias, limit none"),
        ({"pages": [], "page": 1}, "'page': unknown, limit title, page_count, pages"),
        (pages(), "page 1: zones: 0 of them, limit a list of 1 to 100"),
        ({"pages": [{"zones": [ZONE]}]}, "page number 1 of the list: page: left out"),
        ({"pages": [{"page": 0, "zones": [ZONE]}]}, "page: 0, limit a whole number 1 to 100"),
        ({"pages": [{"page": True, "zones": [ZONE]}]}, "page: True, limit a whole number"),
        (pages(ZONE | {"box": [0.1, 0.8, 1.2, 0.9]}), "'applicant': box: x1: 1.2, limit 0 to 1"),
        (pages(ZONE | {"box": [0.1, 0.8, float("nan"), 0.9]}), "box: x1: nan, limit 0 to 1"),
        (pages(ZONE | {"box": [0.5, 0.8, 0.1, 0.9]}), "limit x0 < x1 and y0 < y1"),
        (pages(ZONE | {"box": [0.1, 0.8, 0.5]}), "limit four numbers"),
        (pages(ZONE | {"box": [0.1, 0.8, 0.105, 0.9]}), "0.50% x 10.00% of the page, limit 1%"),
        (pages(ZONE | {"class": "thumb"}), "class: 'thumb', limit one of signature, stamp"),
        (pages(ZONE | {"name": " "}), "zone number 1 of the list: name: empty"),
        (pages(ZONE | {"count": 0}), "count: 0, limit a whole number 1 to 20"),
        (pages(ZONE | {"required": "no"}), "required: 'no', limit true or false"),
        (pages(ZONE | {"colour": "red"}), "'colour': unknown, limit name, class, box"),
        (pages(ZONE | {"field": [1, 2, 3, 4]}), "needs a box in fractions of the page, or a field"),
        (
            pages({"name": "a", "class": "stamp", "field": [1, 2, 3, 4]}),
            r"field: \[1, 2, 3, 4\], but its page has no reference",
        ),
        (pages(ZONE, ZONE), "zone 'applicant': twice, limit once"),
        (
            pages(ZONE, ZONE | {"name": "b", "box": [0.3, 0.8, 0.7, 0.9]}),
            "zones 'applicant' and 'b', both for a signature, share 50% of the smaller, limit 10%",
        ),
        (pages(ZONE | {"required": False}), "no zone is required"),
        (pages(ZONE) | {"page_count": 0}, "page_count: 0, limit a whole number"),
        ({"page_count": 1, "pages": [{"page": 2, "zones": [ZONE]}]}, "page 2, limit 1"),
        ({"pages": pages(ZONE)["pages"] * 2}, "page 1: twice, limit once"),
        (pages(ZONE, reference="../secret.png"), "'../secret.png', limit the name of a file"),
        (pages(ZONE, reference="lost.png"), "'lost.png': No such file or directory"),
        (pages(ZONE, reference="loan.yaml"), "'loan.yaml': .* no image"),
        (pages(ZONE, reference="loan-1.png", aspect=0.7), "aspect: 0.7, but the reference has one"),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused_with_the_reason(tmp_path, blank, form, reason):
    with pytest.raises(FormError, match=reason) as refused:
        read(written(tmp_path, form))
    assert "loan.yaml" in str(refused.value)


def test_a_blank_page_with_next_to_no_print_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((1000, 700), 255, np.uint8))
    with pytest.raises(FormError, match=r"'white\.png': 0 features in its print, limit 150"):
        read(written(tmp_path, pages(ZONE, reference="white.png")))


def test_a_signature_and_a_stamp_may_share_a_place(tmp_path):
    stamp = ZONE | {"name": "bank", "class": "stamp"}
    assert len(read(written(tmp_path, pages(ZONE, stamp))).pages[0].zones) == 2


def test_what_is_written_is_read_again(tmp_path):
    zones = (
        Zone("a: 'b' #c", "signature", (0.1, 0.2, 0.3, 0.4), 2, True),
        Zone("zwei", "stamp", (0.5, 0.5, 1.0, 1.0), 1, False, "on 2 of 5 examples"),
    )
    form = Form("loan", (FormPage(2, zones, aspect=0.7071),), "Yes: no", 2)
    read_form = read(written(tmp_path, form.to_yaml()))
    assert read_form.title == "Yes: no"
    assert read_form.page_count == 2
    (page,) = read_form.pages
    assert (page.number, page.aspect) == (2, 0.7071)
    assert page.zones[0] == zones[0]
    assert page.zones[1] == Zone("zwei", "stamp", (0.5, 0.5, 1.0, 1.0), 1, False)


def test_a_folder_is_read_again_when_it_changes_and_a_broken_form_leaves_the_others(tmp_path):
    forms = Forms(tmp_path / "none")
    assert forms.all() == ({}, {})
    forms = Forms(tmp_path)
    written(tmp_path, pages(ZONE))
    assert forms.all()[0].keys() == {"loan"}
    written(tmp_path, "pages: 3", "claim")
    good, broken = forms.all()
    assert good.keys() == {"loan"}
    assert "pages: 3, limit" in broken["claim"]
