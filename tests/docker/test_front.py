"""docker/haproxy.cfg in front of a real server, where haproxy is installed."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from countersign import Client
from countersign.errors import Refused
from server.readiness import SAMPLES
from server.triton import Triton, free_port

CONFIG = Path(__file__).resolve().parents[2] / "docker" / "haproxy.cfg"
PAGE = SAMPLES / "page_300dpi.jpg"

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")


@contextmanager
def front(server: Triton, folder: Path, maxconn: int, queue: str) -> Iterator[dict[str, str]]:
    """haproxy before `server`, on free ports: the addresses of "http" and "grpc"."""
    ports = {"http": free_port("127.0.0.1"), "grpc": free_port("127.0.0.1")}
    text = CONFIG.read_text()
    for old, new in {
        ":9000": f"127.0.0.1:{ports['http']}",
        ":9001": f"127.0.0.1:{ports['grpc']}",
        '"${TRITON}:8000"': server.http_url,
        '"${TRITON}:8001"': server.grpc_url,
    }.items():
        assert old in text
        text = text.replace(old, new)
    config = folder / "haproxy.cfg"
    config.write_text(text)
    process = subprocess.Popen(
        ["haproxy", "-f", str(config)], env=os.environ | {"MAXCONN": str(maxconn), "QUEUE": queue}
    )
    try:
        wait_for(f"http://127.0.0.1:{ports['http']}/v2/health/ready")
        yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        process.terminate()
        process.wait(10)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.05)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_answers_and_refusals_come_through_unchanged(server, tmp_path, protocol):
    with (
        front(server, tmp_path, maxconn=4, queue="5s") as urls,
        Client(getattr(server, f"{protocol}_url"), protocol=protocol) as client,
        Client(urls[protocol], protocol=protocol) as behind,
    ):
        np.testing.assert_array_equal(behind.detect(PAGE).boxes, client.detect(PAGE).boxes)
        with pytest.raises(Refused, match=r"parameter confidence: 2\.0, limit a number 0 to 1"):
            behind.detect(PAGE, confidence=2)


def test_more_than_the_queue_holds_is_refused_soon_and_the_rest_answered(server, tmp_path):
    body = json.dumps({"image": base64.b64encode(PAGE.read_bytes()).decode()}).encode()
    with front(server, tmp_path, maxconn=1, queue="50ms") as urls:
        infer = f"http://{urls['http']}/v2/models/document_detector/generate"

        def ask(_) -> tuple[int, float]:
            began = time.monotonic()
            try:
                with urllib.request.urlopen(infer, body, timeout=30) as answer:
                    assert json.load(answer)["labels"]
                    return 200, time.monotonic() - began
            except urllib.error.HTTPError as error:
                return error.code, time.monotonic() - began

        with ThreadPoolExecutor(16) as clients:
            asked = [clients.submit(ask, i) for i in range(48)]
            while not any(one.done() for one in asked):
                time.sleep(0.01)
            began = time.monotonic()
            wait_for(f"http://{urls['http']}/v2/health/ready")
            health_s = time.monotonic() - began
            answers = [one.result() for one in asked]
    codes = [code for code, _ in answers]
    assert set(codes) == {200, 503}
    assert np.median([took_s for code, took_s in answers if code == 503]) < 0.5
    assert health_s < 1
