"""Files posted to a running gateway, page by page."""

import hashlib
import io
import json
import time

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from countersign import Client
from tests import pdfs
from tests.gateway.conftest import running

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def page(samples) -> bytes:
    """A sample page, a JPEG at 150 dpi."""
    return (samples / "page_150dpi.jpg").read_bytes()


@pytest.fixture(scope="module")
def size(page) -> tuple[int, int]:
    return Image.open(io.BytesIO(page)).size


def contract(page: bytes, size: tuple[int, int]) -> bytes:
    """A PDF: a scan, the same drawn with a line of text, a page of 10 km, a blank one."""
    pdf = pdfs.Pdf()
    points = tuple(edge * 72 / 150 for edge in size)
    matrix = b"%g 0 0 %g 0 0" % points
    pdf.scan(page, size, matrix, size=points)
    pdf.scan(page, size, matrix, more=b"BT /F 8 Tf 20 20 Td (page 2) Tj ET", size=points)
    pdf.page(b"", (28_346_457, 28_346_457))
    pdf.page(b"", points)
    return pdf.bytes()


def nearest(boxes, box):
    """Of `boxes` the one that overlaps `box` most, by their intersection over union."""

    def overlap(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        both = max(0, w) * max(0, h)
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return both / (sum(areas) - both)

    return max(overlap(each, box) for each in boxes)


def test_detect_answers_as_the_usual_service_does(gateway, server, page, size):
    answer = gateway.post("/detect", files={"file": ("a.jpg", page, "image/jpeg")})
    assert answer.status_code == 200, answer.text
    with Client(server.grpc_url) as client:
        expected = client.detect(page)
    found = answer.json()
    assert list(found) == ["detections"]
    assert [list(each) for each in found["detections"]] == [["class", "confidence", "bbox"]] * len(
        expected
    )
    assert [each["class"] for each in found["detections"]] == list(expected.labels)
    np.testing.assert_allclose(
        [each["confidence"] for each in found["detections"]], expected.scores, atol=6e-5
    )
    np.testing.assert_allclose(
        [each["bbox"] for each in found["detections"]], expected.boxes, atol=0.06
    )


def test_a_document_is_answered_page_by_page(gateway, page, size, sample_pages):
    data = contract(page, size)
    answer = gateway.post("/v1/documents?dpi=150", content=data)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["sha256"] == hashlib.sha256(data).hexdigest()
    assert (document["bytes"], document["kind"], document["page_count"]) == (len(data), "pdf", 4)
    assert document["model"]["name"] == "document_detector"
    assert int(document["model"]["version"]) >= 6
    scan, drawn, huge, blank = document["pages"]
    assert [each["page"] for each in document["pages"]] == [1, 2, 3, 4]
    assert (scan["width"], scan["height"]) == size
    truth = sample_pages["page_150dpi.jpg"]["boxes"]
    for found in (scan, drawn):
        assert sorted(each["class"] for each in found["detections"]) == sorted(
            box["class"] for box in truth
        )
        for box in truth:
            assert nearest([each["bbox"] for each in found["detections"]], box["xyxy"]) > 0.6
        for each in found["detections"]:
            np.testing.assert_allclose(
                each["bbox_points"], np.array(each["bbox"]) * 72 / 150, atol=0.2
            )
    assert huge["error"]["status"] == 413
    assert huge["error"]["limit"] == 100_000_000
    assert "10000.00 x 10000.00 m" in huge["error"]["detail"]
    assert blank["detections"] == []
    assert blank["width_points"] == pytest.approx(size[0] * 72 / 150, abs=0.01)


def test_pages_come_as_they_get_ready(gateway, page, size):
    data = contract(page, size)
    with gateway.stream(
        "POST", "/v1/documents?pages=1,3-4", content=data, headers=NDJSON
    ) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        head, *pages, done = map(json.loads, answer.iter_lines())
    assert head["page_count"] == 4
    assert "pages" not in head
    assert sorted(each["page"] for each in pages) == [1, 3, 4]
    assert [each["page"] for each in pages if "error" in each] == [3]
    marks = sum(len(each.get("detections", ())) for each in pages)
    assert done == {"done": True, "pages": 3, "errors": 1, "detections": marks}


def test_a_document_that_takes_too_long_is_given_up(server):
    with (
        running(server.grpc_url, "--document-timeout-s", "0.3") as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        pages = client.post("/v1/documents", content=pdfs.blank(200)).json()["pages"]
    assert [page["page"] for page in pages] == list(range(1, 201))
    late = [page["error"] for page in pages if "error" in page]
    assert 0 < len(late) < 200
    assert {error["status"] for error in late} == {504}
    assert "the document took more than 0.3 s" in late[0]["detail"]


def test_the_first_line_does_not_wait_for_the_pages(gateway):
    slow = pdfs.doubling_forms(22)
    with gateway.stream("POST", "/v1/documents", content=slow, headers=NDJSON) as answer:
        lines = answer.iter_lines()
        began = time.monotonic()
        assert json.loads(next(lines))["page_count"] == 1
        first_s = time.monotonic() - began
        list(lines)
    assert first_s < 1


def test_each_page_of_a_tiff_is_answered_as_the_client_answers_it(gateway, server, samples):
    pages = [
        np.asarray(Image.open(samples / name).convert("L"))
        for name in ("page_150dpi.jpg", "page_grey.png")
    ]
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for each in pages:
            writer.write(each, photometric="minisblack", compression="zlib")
    answer = gateway.post("/v1/documents", content=file.getvalue()).json()
    with Client(server.grpc_url) as client:
        expected = list(client.detect_pages(file.getvalue()))
    assert answer["page_count"] == len(expected) == 2
    for got, found in zip(answer["pages"], expected, strict=True):
        assert (got["width"], got["height"]) == found.page_size
        assert [each["class"] for each in got["detections"]] == list(found.labels)
        boxes = np.array([each["bbox"] for each in got["detections"]]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, found.boxes, atol=0.06)


def test_thresholds_are_those_of_the_ensembles(gateway, server, page):
    asked = {"operating_point": "review", "confidence_stamp": "0.9", "max_detections": "5"}
    answer = gateway.post("/v1/documents", params=asked, content=page).json()
    assert answer["operating_point"] == "review"
    with Client(server.grpc_url) as client:
        expected = client.detect(page, {"stamp": 0.9}, max_detections=5, operating_point="review")
    (found,) = answer["pages"]
    assert [each["class"] for each in found["detections"]] == list(expected.labels)
    in_form = gateway.post("/v1/documents", data=asked, files={"file": page}).json()
    assert in_form["pages"][0]["detections"] == found["detections"]


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("/v1/documents", b"", 400, "file: 0 bytes"),
        ("/v1/documents", b"hello", 415, "begins b'hello', expected a PDF, JPEG"),
        ("/v1/documents", b"GIF89a" + bytes(50), 415, "expected a PDF"),
        ("/v1/documents", pdfs.encrypted(), 422, "encrypted PDF, which asks for a password"),
        ("/v1/documents", pdfs.blank(0), 422, "a PDF of 0 pages"),
        ("/v1/documents", pdfs.blank(1, count=100_000), 413, "100000 pages, limit 2000"),
        ("/v1/documents", b"II*\0" + pdfs.blank(), 415, "two formats in one file, TIFF and PDF"),
        ("/v1/render", pdfs.blank(1, (1e38, 1e38)), 413, "pixels, limit 100000000"),
        ("/v1/documents?pages=2", pdfs.blank(), 400, "pages: '2', limit 1, the document's pages"),
        ("/v1/documents?pages=0", pdfs.blank(), 400, "pages: '0', expected numbers from 1"),
        ("/v1/documents?pages=3-2", pdfs.blank(), 400, "pages: '3-2'"),
        ("/v1/documents?dpi=5000", pdfs.blank(), 400, "dpi: '5000', limit 18 to 600"),
        ("/v1/documents?confidence=2", pdfs.blank(), 400, "confidence: '2', limit 0 to 1"),
        ("/v1/documents?confidence=nan", pdfs.blank(), 400, "confidence: 'nan', limit 0 to 1"),
        ("/v1/documents?password=x", pdfs.blank(), 400, "parameter: 'password', unknown"),
        ("/detect", b"\xff\xd8\xff\xe0 cut", 422, "image: 8 bytes"),
        ("/v1/render?page=2", pdfs.blank(), 400, "page: 2, limit 1 to 1"),
        ("/v1/nothing", b"x", 404, "Not Found"),
        ("/v1/models", b"x", 405, "Method Not Allowed"),
    ],
)
def test_a_refusal_is_a_problem_with_value_and_limit(gateway, path, content, status, words):
    answer = gateway.post(path, content=content)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"]
    assert problem["type"].startswith(("urn:countersign:", "about:blank"))


def test_a_page_that_no_decoder_reads_is_an_error_of_that_page_alone(gateway, samples):
    good = np.asarray(Image.open(samples / "page_grey.png").convert("L"))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(3):
            writer.write(good, photometric="minisblack", compression="zlib")
    data = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        at = tiff.pages[1].dataoffsets[0]
    data[at : at + 40] = bytes(40)
    pages = gateway.post("/v1/documents", content=bytes(data)).json()["pages"]
    assert ["error" in each for each in pages] == [False, True, False]
    assert pages[1]["error"]["status"] == 422
    assert "milliseconds" in pages[2]


def test_a_page_is_rendered_in_the_frame_of_its_boxes(gateway, page, size):
    data = contract(page, size)
    pictures = [
        Image.open(io.BytesIO(gateway.post(path, content=data).content))
        for path in ("/v1/render?page=1&dpi=75", "/v1/render?page=2&dpi=75")
    ]
    half = tuple(round(edge / 2) for edge in size)
    for picture in pictures:
        assert picture.format == "JPEG"
        assert np.abs(np.array(picture.size) - half).max() <= 1
    scan, drawn = (np.asarray(each.convert("L").resize((60, 80))).astype(int) for each in pictures)
    assert np.abs(scan - drawn).mean() < 3
    turned = Image.Exif()
    turned[274] = 6
    file = io.BytesIO()
    Image.open(io.BytesIO(page)).save(file, "JPEG", exif=turned.tobytes())
    upright = gateway.post("/v1/render?dpi=75", content=file.getvalue()).content
    assert Image.open(io.BytesIO(upright)).size == pytest.approx(half[::-1], abs=1)


def test_a_captcha_is_read(gateway, samples, sample_captchas):
    name, digits = next(iter(sample_captchas.items()))
    answer = gateway.post("/v1/read", files={"file": (samples / name).read_bytes()}).json()
    assert (answer["text"], answer["certain"]) == (digits, True)
    assert len(answer["digit_confidence"]) == 6
    animated = io.BytesIO()
    frames = [Image.new("L", (200, 50), 255)]
    Image.open(samples / name).save(animated, "GIF", save_all=True, append_images=frames)
    answer = gateway.post("/v1/read", content=animated.getvalue()).json()
    assert (answer["text"], answer["certain"]) == (digits, True)


def test_models_tell_versions_and_thresholds(gateway, server):
    answer = gateway.get("/v1/models").json()
    with Client(server.grpc_url) as client:
        expected = {model.name: model for model in client.models()}
    (detector,) = [one for one in answer["detectors"] if one["name"] == "document_detector"]
    known = expected["document_detector"]
    assert detector["version"] == str(known.version)
    assert detector["thresholds"] == {"accept": known.confidence, "review": known.review}
    assert detector["classes"] == ["signature", "stamp"]
    assert [one["name"] for one in answer["readers"]] == ["captcha_reader"]
