"""Forms over HTTP and from the command line, with the served detector and the example form."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image

from gateway.forms import read

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "forms"
COMPLETE, UNSIGNED = EXAMPLES / "filled" / "complete.jpg", EXAMPLES / "filled" / "unsigned.jpg"

UNREADABLE = COMPLETE.read_bytes()[:3000]


def asked(gateway: httpx.Client, paper: bytes, **query: str) -> dict:
    answer = gateway.post("/v1/check", params={"form": "loan", **query}, content=paper)
    assert answer.status_code == 200, answer.text
    return answer.json()


def countersign(gateway_url: str, *arguments: str) -> subprocess.CompletedProcess:
    run = "import sys, countersign.cli; sys.exit(countersign.cli.main())"
    command = [sys.executable, "-c", run, *arguments, "--gateway", gateway_url]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_forms_are_listed_with_their_zones(gateway):
    answer = gateway.get("/v1/forms").json()
    (form,) = answer["forms"]
    assert (form["name"], form["pages"], answer["broken"]) == ("loan", 1, [])
    expected = read(EXAMPLES / "loan.yaml").pages[0].zones
    assert [(zone["name"], zone["class"]) for zone in form["zones"]] == [
        (zone.name, zone.label) for zone in expected
    ]
    assert form["zones"][0]["box"] == list(expected[0].box)


def test_a_complete_paper_is_complete(gateway):
    answer = asked(gateway, COMPLETE.read_bytes())
    check = answer["check"]
    assert (check["verdict"], check["form"], check["extra_pages"]) == ("complete", "loan", [])
    assert answer["operating_point"] == "review"
    (page,) = check["pages"]
    assert (page["matched"], page["document_page"], page["turned"], page["why"]) == (
        True, 1, 0, "",
    )  # fmt: skip
    for zone in check["zones"]:
        assert zone["verdict"] == "complete"
        (mark,) = zone["detections"]
        assert mark["class"] == zone["class"]
        assert (mark["doubts"], mark["distance"]) == ([], 0)
        assert mark["bbox"] in [found["bbox"] for found in answer["pages"][0]["detections"]]
        corners = np.array(zone["polygon"])
        width, height = answer["pages"][0]["width"], answer["pages"][0]["height"]
        assert ((corners >= 0) & (corners <= (width, height))).all()


def test_an_unsigned_paper_says_what_is_missing(gateway):
    check = asked(gateway, UNSIGNED.read_bytes())["check"]
    assert check["verdict"] == "missing"
    (zone,) = [zone for zone in check["zones"] if zone["verdict"] != "complete"]
    assert (zone["verdict"], zone["detections"]) == ("missing", [])
    assert zone["name"] in check["why"]


def test_a_page_on_its_head_is_looked_at_upright(gateway, tmp_path):
    """The detector does not know such pages well."""
    Image.open(COMPLETE).transpose(Image.Transpose.ROTATE_180).save(
        tmp_path / "turned.jpg", quality=90
    )
    check = asked(gateway, (tmp_path / "turned.jpg").read_bytes())["check"]
    assert check["pages"][0]["turned"] == 180
    assert check["verdict"] == "complete"
    straight = asked(gateway, COMPLETE.read_bytes())
    width, height = straight["pages"][0]["width"], straight["pages"][0]["height"]
    for zone, other in zip(check["zones"], straight["check"]["zones"], strict=True):
        x0, y0, x1, y1 = other["detections"][0]["bbox"]
        expected = [width - x1, height - y1, width - x0, height - y0]
        np.testing.assert_allclose(zone["detections"][0]["bbox"], expected, atol=12)


def test_another_page_does_not_match_and_says_so(gateway, samples):
    check = asked(gateway, (samples / "page_150dpi.jpg").read_bytes())["check"]
    assert check["verdict"] == "review"
    assert "no page matches page 1 of the form" in check["why"]
    assert check["pages"][0]["matched"] is False


def test_a_page_that_fails_is_for_review(gateway):
    check = asked(gateway, UNREADABLE)["check"]
    assert check["verdict"] == "review"
    assert "not read" in check["why"]


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ({}, 404, "form: '', known are loan"),
        ({"form": "lone"}, 404, "form: 'lone', known are loan"),
        ({"form": "loan", "confidence": "0.1"}, 400, "parameter: 'confidence', unknown here"),
        ({"form": "loan", "pages": "2"}, 400, "pages: '2', limit 1"),
    ],
)
def test_what_cannot_be_checked_is_a_problem(gateway, query, status, detail):
    answer = gateway.post("/v1/check", params=query, content=COMPLETE.read_bytes())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


def test_the_command_tells_files_apart_and_exits_by_the_worst(gateway_url):
    done = countersign(gateway_url, "check", "--form", "loan", str(COMPLETE), str(UNSIGNED))
    assert done.returncode == 3
    first, second, *zones = done.stdout.splitlines()
    assert first.split()[1] == "complete"
    assert second.split()[1] == "missing"
    (zone,) = zones
    assert zone.split()[0] == "missing"
    assert "no signature" in zone
    good = countersign(gateway_url, "check", "--form", "loan", "--json", str(COMPLETE))
    assert good.returncode == 0
    assert json.loads(good.stdout)["check"]["verdict"] == "complete"
    bad = countersign(gateway_url, "check", "--form", "lone", str(COMPLETE))
    assert bad.returncode == 1
    assert "form: 'lone', known are loan" in bad.stderr


def test_a_form_is_learned_from_papers(gateway_url, gateway, tmp_path):
    papers = [str(COMPLETE)] * 3  # the same one: nothing of it is a blank's
    blank = EXAMPLES / "loan-1.png"
    arguments = ["--name", "mine", "--blank", str(blank), "--out", str(tmp_path), *papers]
    done = countersign(gateway_url, "form", "learn", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "mine.yaml").read_text()
    learned, drawn = read(tmp_path / "mine.yaml").pages[0], read(EXAMPLES / "loan.yaml").pages[0]
    assert sorted(zone.label for zone in learned.zones) == sorted(
        zone.label for zone in drawn.zones
    )
    again = countersign(gateway_url, "form", "learn", *arguments)
    assert again.returncode == 1
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("name", "files", "status", "detail"),
    [
        ("../mine", [("example", b"x")], 400, "name: '../mine'"),
        ("mine", [("example", COMPLETE)] * 2, 422, "examples: 2, limit at least 3"),
        ("mine", [("example", COMPLETE), ("example", b"x")], 415, "example 2: document: 1 bytes"),
        ("mine", [("example", UNREADABLE)] * 3, 422, "example 1, page 1: not read: "),
        ("mine", [("example", COMPLETE)] * 21, 400, "21 examples"),
    ],
    ids=["name", "two", "no image", "unreadable", "many"],
)
def test_what_cannot_be_learned_is_a_problem(gateway, name, files, status, detail):
    parts = [
        (part, (part, data if isinstance(data, bytes) else data.read_bytes()))
        for part, data in files
    ]
    answer = gateway.post("/v1/forms/learn", params={"name": name}, files=parts)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


def test_a_form_learned_over_http_is_yaml_with_its_blank_page(gateway):
    data = COMPLETE.read_bytes()
    files = [("example", ("a", data))] * 3 + [
        ("blank", ("b", (EXAMPLES / "loan-1.png").read_bytes()))
    ]
    learned = gateway.post("/v1/forms/learn", params={"name": "mine"}, files=files).json()
    form = yaml.safe_load(learned["yaml"])
    assert form["pages"][0]["reference"] == "mine-1.png"
    assert base64.b64decode(learned["references"]["mine-1.png"]).startswith(b"\x89PNG")
