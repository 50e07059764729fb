"""The log through a running gateway: what was posted is found, looked at, corrected, exported."""

import hashlib
import io
import json
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import tifffile

from countersign.cli import main
from gateway.__main__ import open_log
from gateway.settings import SettingsError, parse
from tests import pdfs
from tests.gateway.conftest import running
from training.detector.labels import read_pages

PAGE = "page_150dpi.jpg"
FORMS = Path(__file__).resolve().parents[2] / "examples" / "forms"


def digest(content):
    return hashlib.sha256(content).hexdigest()


def another(jpeg, comment):
    """The same picture in a file of its own (ISO/IEC 10918-1, B.2.4.5)."""
    text = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def found(gateway, content):
    """What the log has of a file, once it has an answer."""
    for _ in range(500):
        answer = gateway.get(f"/v1/predictions/{digest(content)}")
        if answer.status_code == 200:
            return answer.json()
        time.sleep(0.01)
    raise AssertionError(answer.text)


@pytest.fixture(scope="module")
def page(samples):
    """A sample page, as a file that no other test asks about."""
    return another((samples / PAGE).read_bytes(), "log")


@pytest.fixture(scope="module")
def answered(gateway, page):
    """The page's answer, logged."""
    answer = gateway.post("/v1/documents", content=page).raise_for_status().json()
    found(gateway, page)
    return answer


def test_an_answer_is_found_by_its_file(gateway, page, answered):
    known = found(gateway, page)
    (prediction,) = known["predictions"]
    assert prediction.items() >= answered.items()
    assert prediction["caller"] == "anyone"
    assert prediction["milliseconds"] > answered["pages"][0]["milliseconds"] / 2
    assert prediction["thresholds"].keys() == {"signature", "stamp"}
    assert known["stored"]


@pytest.mark.parametrize("way", ["ndjson", "/detect"])
def test_every_way_to_ask_is_logged(gateway, page, way):
    content = another(page, way)
    if way == "ndjson":
        headers = {"Accept": "application/x-ndjson"}
        gateway.post("/v1/documents", content=content, headers=headers).raise_for_status()
    else:
        gateway.post("/detect", content=content).raise_for_status()
    (prediction,) = found(gateway, content)["predictions"]
    assert prediction["pages"][0]["detections"]


def test_a_captcha_is_logged(gateway, samples, sample_captchas):
    name, text = next(iter(sample_captchas.items()))
    content = (samples / name).read_bytes()
    gateway.post("/v1/read", content=content).raise_for_status()
    prediction = found(gateway, content)["predictions"][0]
    assert prediction["model"]["name"] == "captcha_reader"
    assert prediction["pages"][0]["text"] == text


def test_what_nobody_asked_about_is_not_there(gateway):
    answer = gateway.get(f"/v1/predictions/{'0' * 64}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/predictions/abc", "sha256: 'abc'"),
        (f"/v1/predictions/{'0' * 64}?limit=0", "limit: '0'"),
        ("/v1/queue?why=boredom", "why: 'boredom'"),
        ("/v1/queue?after=there", "after: 'there'"),
        (f"/v1/pages/{'0' * 64}/0", "page: '0'"),
    ],
)
def test_what_cannot_be_asked_is_a_problem_that_names_it(gateway, path, name):
    answer = gateway.get(path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert name in answer.json()["detail"]


def test_a_page_is_looked_at_corrected_and_exported(gateway, page, answered, tmp_path):
    (waiting,) = (
        each for each in gateway.get("/v1/queue?limit=200").json()["pages"]
        if each["sha256"] == digest(page)
    )  # fmt: skip
    assert "random" in waiting["why"]
    assert waiting["stored"]
    (seen,) = answered["pages"]
    assert waiting["detections"] == seen["detections"]

    picture = gateway.get(f"/v1/pages/{digest(page)}/1")
    height, width = cv2.imdecode(np.frombuffer(picture.content, np.uint8), 0).shape
    assert (width, height) == (seen["width"], seen["height"])

    boxes = [{"class": "stamp", "bbox": [10, 20, 110, 220]}]
    correction = {
        "sha256": digest(page), "page": 1, "width": seen["width"], "height": seen["height"],
        "detections": boxes, "replaces": 0,
    }  # fmt: skip
    stored = gateway.post("/v1/corrections", json=correction)
    assert (stored.status_code, stored.json()["version"]) == (201, 1)
    late = gateway.post("/v1/corrections", json=correction)
    assert (late.status_code, late.json()["version"]) == (409, 1)
    assert found(gateway, page)["corrections"][0]["detections"] == boxes
    assert found(gateway, page)["predictions"][0]["pages"] == [seen]
    left = gateway.get("/v1/queue?limit=200").json()["pages"]
    assert digest(page) not in [each["sha256"] for each in left]

    whole = gateway.get("/v1/export").raise_for_status().content
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        tar.extractall(tmp_path, filter="data")
    for form in ("yolo", "coco"):
        (labelled,) = read_pages(tmp_path / form)
        assert labelled.path.read_bytes() == page
        np.testing.assert_allclose(labelled.xyxy, [[10, 20, 110, 220]], atol=0.01)
        assert labelled.class_ids.tolist() == [1]


def two_pages(kind, page, samples):
    """A PDF of a scan and of a page that is drawn, or a TIFF."""
    height, width = cv2.imdecode(np.frombuffer(page, np.uint8), 1).shape[:2]
    if kind == "pdf":
        pdf = pdfs.Pdf()
        points = (width * 0.48, height * 0.48)
        matrix = b"%g 0 0 %g 0 0" % points
        pdf.scan(page, (width, height), matrix, size=points)
        pdf.scan(page, (width, height), matrix, more=b"0 0 9 9 re f", size=points)
        return pdf.bytes()
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for name in (PAGE, "page_grey.png"):
            grey = cv2.imread(str(samples / name), cv2.IMREAD_GRAYSCALE)
            writer.write(grey, photometric="minisblack", compression="zlib")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["pdf", "tiff"])
def test_pages_of_documents_are_shown_and_exported_in_the_frame_of_their_boxes(
    gateway, page, samples, tmp_path, kind
):
    content = two_pages(kind, page, samples)
    answer = gateway.post("/v1/documents", content=content).raise_for_status().json()
    found(gateway, content)
    for seen in answer["pages"]:
        boxes = [{name: mark[name] for name in ("class", "bbox")} for mark in seen["detections"]]
        assert boxes
        size = {"width": seen["width"], "height": seen["height"]}
        correction = {"sha256": digest(content), "page": seen["page"], **size, "detections": boxes}
        gateway.post("/v1/corrections", json=correction).raise_for_status()
    with tarfile.open(fileobj=io.BytesIO(gateway.get("/v1/export").content)) as tar:
        tar.extractall(tmp_path, filter="data")
    exported = {each.path.stem: each for each in read_pages(tmp_path / "coco")}
    for seen in answer["pages"]:
        labelled = exported[f"{digest(content)}.rf.{seen['page']}"]
        picture = gateway.get(f"/v1/pages/{digest(content)}/{seen['page']}").content
        shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
        height, width = shown.shape
        assert width / height == pytest.approx(seen["width"] / seen["height"], rel=0.003)
        file = cv2.imread(str(labelled.path), cv2.IMREAD_GRAYSCALE)
        file = cv2.resize(file, (width, height), interpolation=cv2.INTER_AREA)
        turned = cv2.rotate(file, cv2.ROTATE_180)
        assert 2 * cv2.absdiff(file, shown).mean() < cv2.absdiff(turned, shown).mean()
        shares = labelled.xyxy / np.array(labelled.size * 2)
        expected = np.array([mark["bbox"] for mark in seen["detections"]])
        expected /= np.array([seen["width"], seen["height"]] * 2)
        np.testing.assert_allclose(shares, expected, atol=1e-4)


def test_a_check_is_logged_with_its_outcome(gateway):
    content = another((FORMS / "filled" / "complete.jpg").read_bytes(), "log")
    answer = gateway.post("/v1/check", params={"form": "loan"}, content=content).json()
    (prediction,) = found(gateway, content)["predictions"]
    assert prediction["check"] == answer["check"]
    assert prediction["check"]["verdict"] == "complete"
    assert prediction["operating_point"] == "review"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"page": 2}, 404, "page 2 of this file was never answered"),
        ({"detections": [{"class": "logo", "bbox": [1, 2, 3, 4]}]}, 422, "'logo', known are"),
        ({"detections": [{"class": "stamp", "bbox": [1, 2, 3, 9e9]}]}, 422, "detections[0].bbox"),
        ({"detections": [{"class": "stamp", "bbox": [1, 2, 3]}]}, 400, "detections.0.bbox"),
        ({"width": 0}, 400, "width: '0'"),
        ({"width": True}, 400, "width: 'True'"),
        ({"extra": "1" * 2**18}, 413, "bytes, limit 262144"),
        ({"extra": 1}, 400, "extra"),
    ],
)
def test_a_correction_that_cannot_be_is_refused(gateway, page, answered, change, status, words):
    correction = {"sha256": digest(page), "page": 1, "width": 100, "height": 100, "detections": []}
    answer = gateway.post("/v1/corrections", json=correction | change)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_another_sites_form_cannot_correct(gateway, page, answered):
    """A browser sends text/plain to another site without asking it first."""
    body = {"sha256": digest(page), "page": 1, "width": 100, "height": 100, "detections": []}
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "text/plain"}}
    assert gateway.post("/v1/corrections", **sent).status_code == 400


def test_a_picture_that_is_not_stored_says_so(gateway):
    answer = gateway.get(f"/v1/pages/{'0' * 64}/1")
    assert (answer.status_code, answer.json()["detail"]) == (404, "sha256: this file is not stored")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_command_line_finds_a_file_and_its_corrections(
    gateway, gateway_url, page, answered, tmp_path, capsys
):
    file = tmp_path / "anything.jpg"
    content = another(page, "cli")
    file.write_bytes(content)
    gateway.post("/v1/documents", content=content).raise_for_status()
    (prediction,) = found(gateway, content)["predictions"]
    box = {"class": "stamp", "bbox": [1, 2, 30, 40]}
    gateway.post(
        "/v1/corrections",
        json={
            "sha256": digest(content), "page": 1, "width": 100, "height": 100, "detections": [box],
        },
    ).raise_for_status()  # fmt: skip
    assert run("log", "find", "--gateway", gateway_url, file) == 0
    first, *marks, correction, corrected = capsys.readouterr().out.splitlines()
    model = f"document_detector {answered['model']['version']}"
    assert first == f"{file}  {prediction['time']}  {model}  accept  anyone"
    assert len(marks) == len(answered["pages"][0]["detections"])
    best = answered["pages"][0]["detections"][0]
    assert marks[0].split()[2:4] == [best["class"], f"{best['confidence']:.3f}"]
    assert "page 1 corrected by anyone, version 1" in correction
    assert corrected.split() == ["page", "1", "stamp", "1.0", "2.0", "30.0", "40.0"]
    assert run("log", "find", "--json", "--gateway", gateway_url, file) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["file"], line["predictions"]) == (str(file), [prediction])


def test_the_command_line_says_what_it_does_not_find(gateway_url, tmp_path, capsys):
    (tmp_path / "never").write_text("sent")
    files = [tmp_path / "never", tmp_path / "nowhere"]
    assert run("log", "find", "--gateway", gateway_url, *files) == 1
    never, nowhere = capsys.readouterr().err.splitlines()
    assert never.endswith("never: sha256: the log has no answer about this file")
    assert nowhere.endswith("nowhere: No such file or directory")


def test_the_command_line_exports_what_a_training_takes(
    gateway, gateway_url, page, answered, tmp_path, capsys
):
    content = another(page, "export")
    gateway.post("/v1/documents", content=content).raise_for_status()
    found(gateway, content)
    size = {"width": answered["pages"][0]["width"], "height": answered["pages"][0]["height"]}
    correction = {"sha256": digest(content), "page": 1, **size, "detections": []}
    gateway.post("/v1/corrections", json=correction).raise_for_status()
    out = tmp_path / "new" / "corrected"
    assert run("log", "export", "--gateway", gateway_url, "--out", out) == 0
    assert f"{out}: " in capsys.readouterr().err
    names = {page.path.name for page in read_pages(out / "yolo")}
    assert f"{digest(content)}.rf.1.jpg" in names
    assert {page.path.name for page in read_pages(out / "coco")} == names
    assert run("log", "export", "--gateway", gateway_url, "--out", out) == 1
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["corrected"]


def test_metrics_tell_of_the_log(gateway, page, answered):
    lines = gateway.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("gateway_log_"))
    assert float(values["gateway_log_up"]) == 1
    assert float(values['gateway_log_answers_total{outcome="written"}']) >= 1
    assert float(values['gateway_log_answers_total{outcome="dropped"}']) == 0


def test_while_the_log_is_locked_answers_come_as_before(gateway, log_folder, page):
    """None waits for the lock, which lasts for all of them, and each is in the log later."""
    other = sqlite3.connect(log_folder / "data" / "predictions.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    contents = [another(page, f"locked {number}") for number in range(5)]
    try:
        for content in contents:
            began = time.monotonic()
            gateway.post("/v1/documents", content=content).raise_for_status()
            assert time.monotonic() - began < 2
        assert gateway.get("/readyz").status_code == 200
        assert gateway.get(f"/v1/predictions/{digest(contents[0])}").status_code == 404
    finally:
        other.execute("ROLLBACK")
        other.close()
    for content in contents:
        found(gateway, content)


def test_a_gateway_that_is_stopped_writes_what_it_has_answered(server, tmp_path, page):
    with running(server.grpc_url, "--data", str(tmp_path)) as url:
        httpx.post(f"{url}/detect", content=page, timeout=30).raise_for_status()
    with closing(sqlite3.connect(tmp_path / "predictions.sqlite")) as log:
        assert log.execute("SELECT sha256 FROM predictions").fetchall() == [(digest(page),)]


def options(tmp_path, *more):
    return parse(["--data", str(tmp_path / "data"), *more], {})


def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(SettingsError, match=r"^--data: .*data: File exists"):
        open_log(options(tmp_path))


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@host:port/log", "mysql://me:hunter2@host/log", "hunter2"]
)
def test_a_url_that_is_none_is_told_and_not_shown(tmp_path, url):
    with pytest.raises(SettingsError, match="--log-url: the log's URL") as refused:
        options(tmp_path, "--log-url", url)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(options(tmp_path, "--log-url", "postgresql://me:hunter2@host/log"))


def test_a_period_that_is_none_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"--retention: '3 weeks': .*as in 90d or 12h"):
        options(tmp_path, "--retention", "3 weeks")


def test_there_may_be_no_log(tmp_path):
    assert open_log(options(tmp_path, "--log", "0")) is None
    assert not (tmp_path / "data").exists()
