"""What Envoy is told, by Envoy's own check; and the front before a real server."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from countersign import Client
from server import Settings
from server.front import body_max, configuration, find_envoy
from server.memory import most_mib
from server.repository import ensembles
from server.settings import ROOT
from tests.reliability.attack import connect, generate, head

ENSEMBLES = {"document_detector": "detector", "captcha_reader": "reader", "b.2-x": "detector"}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="0.0.0.0"),
        Settings(host="::", http_port=1, grpc_port=2, metrics_port=3),
        Settings(host="localhost", max_image_bytes=2**30, threads=1024),
    ],
    ids=lambda settings: settings.host,
)
def test_the_configuration_is_one_that_envoy_takes(settings, tmp_path):
    path = tmp_path / "front.json"
    path.write_text(json.dumps(configuration(settings, ENSEMBLES)))
    command = [find_envoy(), "--mode", "validate", "--log-level", "warning", "-c", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nor has it a warning


def test_a_body_holds_the_largest_image_as_text():
    settings = Settings(max_image_bytes=10**6)
    assert len(b64encode(bytes(10**6))) < body_max(settings) < len(b64encode(bytes(10**6))) + 2**17


def test_larger_limits_take_more_memory():
    assert most_mib(Settings(max_image_bytes=2**26, threads=2)) > most_mib(Settings(threads=2))


def test_more_than_it_takes_are_told_when_to_come_again(server, samples):
    """As many as twice the bound at once, each a page: some are answered, others refused soon."""
    page = b64encode((samples / "page_300dpi.jpg").read_bytes()).decode()
    body = json.dumps({"image": page}).encode()
    url = f"http://{server.http_url}/v2/models/document_detector/generate"
    bound = 16 * server.settings.threads

    def ask(_) -> tuple[int, float, dict]:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(url, body, timeout=60) as answer:
                assert json.load(answer)["labels"]
                return 200, time.monotonic() - began, {}
        except urllib.error.HTTPError as error:
            return error.code, time.monotonic() - began, dict(error.headers)

    with ThreadPoolExecutor(5 * bound) as clients:
        asked = [clients.submit(ask, i) for i in range(5 * bound)]
        with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready", timeout=5):
            pass  # is never refused
        answers = [one.result() for one in asked]
    refused = [(took_s, headers) for code, took_s, headers in answers if code == 503]
    assert {code for code, _, _ in answers} == {200, 503}
    assert len(answers) - len(refused) >= bound
    waits = {int(headers["retry-after"]) for _, headers in refused}
    assert len(waits) > 1  # each gets a turn of its own
    assert max(waits) <= 5
    longest = max(took_s for code, took_s, _ in answers if code == 200)
    assert min(took_s for took_s, _ in refused) < longest / 2


def test_clients_that_go_away_do_not_fill_tritonservers_queue(server, samples):
    """It goes on with what they asked for, so that the front counts it as under way."""
    page = b64encode((samples / "page_150dpi.jpg").read_bytes())
    bound = 16 * server.settings.threads
    body = b'{"image":"' + page + b'"}'
    for _ in range(4 * bound):
        with connect(server.http_url) as connection:
            length = f"Content-Length: {len(body)}"
            connection.sendall(head(generate("document_detector"), length) + body)
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as reply:
        text = reply.read().decode()
    counts = re.findall(r"^nv_inference_pending_request_count{.*} (\d+)", text, re.MULTILINE)
    assert sum(map(int, counts)) <= 1.5 * bound
    with Client(server.grpc_url) as client:
        assert client.detect(samples / "page_150dpi.jpg").labels


def test_answers_are_those_of_a_client_that_waited(server, samples):
    """The client's own retries carry it through, more clients than the bound."""
    captcha = (samples / "captcha_plain.png").read_bytes()
    with Client(server.grpc_url) as client, ThreadPoolExecutor(64) as clients:
        texts = clients.map(lambda _: client.read(captcha).text, range(200))
        assert set(texts) == {"265649"}


def test_ensembles_of_the_repository_are_those_that_may_be_asked():
    assert set(ensembles(ROOT / "model_repository")) == {"document_detector", "captcha_reader"}
