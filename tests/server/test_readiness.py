"""The health check by itself."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from server import readiness
from server.ports import free_port
from server.readiness import NotReady, Wrong, check, first_sample, goldens, overlap
from server.settings import ROOT


def test_overlap_is_intersection_over_union():
    assert overlap([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert overlap([0, 0, 2, 2], [2, 0, 3, 2]) == 0


REPOSITORY = ROOT / "model_repository"


@pytest.fixture
def shipped(samples):
    """What the shipped models are asked."""
    return goldens(REPOSITORY, samples)


def test_a_running_server_is_ready(server, shipped):
    check(server.http_url, shipped)


def test_samples_may_be_a_users_own(server, samples, tmp_path):
    """A folder of one's own, as one trains for another portal: its first answer must be right."""
    shutil.copy(samples / "captcha_lines.png", tmp_path)
    answers = tmp_path / "captchas.json"
    answers.write_text('{"captcha_lines.png": "541060"}')
    check(server.http_url, goldens(REPOSITORY, tmp_path))
    answers.write_text('{"captcha_lines.png": "541061"}')
    with pytest.raises(Wrong, match=r"captcha_lines\.png: read 541060, expected 541061.*--samples"):
        check(server.http_url, goldens(REPOSITORY, tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("captchas.json", "", "JSONDecodeError Expecting value"),
        ("captchas.json", "{}", "StopIteration"),
        ("captchas.json", '["a.png"]', "AttributeError"),
        ("captchas.json", '{"a.png": 482913}', "TypeError 482913 is no text"),
        ("captchas.json", '{"gone.png": "482913"}', "FileNotFoundError .*gone.png"),
        ("pages.json", '{"a.png": []}', "TypeError"),
        ("pages.json", '{"a.png": {"boxes": [{"class": "stamp"}]}}', "KeyError 'xyxy'"),
        ("pages.json", '{"a.png": {"boxes": [{"xyxy": [1, 2, 3]}]}}', "IndexError"),
    ],
)
def test_a_list_of_samples_that_is_none_is_named_with_its_form(name, text, reason, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(Wrong, match=rf"/{name}: {reason}.*; expected \{{\"a\.png\": "):
        first_sample(tmp_path / name)


def test_without_any_temporary_folder_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(readiness, "gettempdir", nowhere)
    assert readiness.main([]) == 1
    assert capsys.readouterr().err == "temporary folder: none is usable; TMPDIR names another\n"


def nowhere() -> str:
    raise FileNotFoundError("none is usable")


def test_an_ensemble_that_is_not_loaded_is_not_ready(server, samples, tmp_path):
    repository = shutil.copytree(REPOSITORY, tmp_path / "repository")
    shutil.copytree(repository / "document_detector", repository / "published")
    with pytest.raises(NotReady, match="/v2/models/published/ready: HTTP 400"):
        check(server.http_url, goldens(repository, samples))


READING = {"text": ["482913"], "confidence": [0.9], "digit_confidence": [1.0] * 6}
JUDGED = {"certain": [True], "threshold": [0.8]}
ANSWER = {"boxes": [0.0, 1.0, 2.0, 3.0], "scores": [0.5], "labels": ["seal"]}


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("published", ANSWER, ""),  # has classes of its own, and needs no sample
        ("published", {"boxes": [], "scores": [], "labels": []}, ""),
        ("published", ANSWER | {"scores": []}, "4 numbers in boxes, 0 scores, 1 labels"),
        ("published", {"boxes": []}, "no output scores, labels"),
        ("document_detector", ANSWER, "no stamp found at"),
        ("letters", READING | JUDGED, ""),
        ("letters", READING, "no output certain, threshold"),  # of an old repository
    ],
)
def test_an_ensemble_of_another_name_may_answer_what_it_likes_in_its_form(
    name, answer, reason, samples, tmp_path
):
    """Asked on a stand-in, which answers every request alike."""
    (tmp_path / name).mkdir()
    shipped = "captcha_reader" if "text" in answer else "document_detector"
    config = (REPOSITORY / shipped / "config.pbtxt").read_text()
    (tmp_path / name / "config.pbtxt").write_text(config)
    outputs = [{"name": output, "data": data} for output, data in answer.items()]

    class Stub(BaseHTTPRequestHandler):
        def do_GET(self):
            content = json.dumps({"outputs": outputs}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Stub) as stub:
        Thread(target=stub.serve_forever, args=[0.01], daemon=True).start()
        expected = pytest.raises(Wrong, match=reason) if reason else nullcontext()
        try:
            with expected:
                check(f"127.0.0.1:{stub.server_port}", goldens(tmp_path, samples))
        finally:
            stub.shutdown()


def test_no_proxy_of_the_environment_is_asked(server, shipped, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    check(server.http_url, shipped)


def test_nobody_listening_is_not_ready_by_url():
    url = f"127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(NotReady, match=f"{url}/v2/health/ready: .*refused"):
        check(url, ())


def test_the_command_tells_by_its_exit_status(server):
    def run(url):
        command = [sys.executable, "-m", "server", "ready", "--url", url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert run(server.http_url).returncode == 0
    nobody = run(f"127.0.0.1:{free_port('127.0.0.1')}")
    assert nobody.returncode == 1
    assert "refused" in nobody.stderr
