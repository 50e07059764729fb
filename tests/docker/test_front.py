"""docker/haproxy.cfg in front of a real server, where haproxy is installed."""

import base64
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.speed.overload import front, wait_for
from countersign import Client
from countersign.errors import Refused, Unavailable
from server.settings import SAMPLES

PAGE = SAMPLES / "page_300dpi.jpg"

pytestmark = pytest.mark.needs("haproxy")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_answers_and_refusals_come_through_unchanged(server, protocol):
    with (
        front(server, maxconn=4) as urls,
        Client(getattr(server, f"{protocol}_url"), protocol=protocol) as client,
        Client(urls[protocol], protocol=protocol) as behind,
    ):
        np.testing.assert_array_equal(behind.detect(PAGE).boxes, client.detect(PAGE).boxes)
        with pytest.raises(Refused, match=r"parameter confidence: 2\.0, limit a number 0 to 1"):
            behind.detect(PAGE, confidence=2)


def test_too_many_are_told_to_try_again_and_the_rest_answered(server):
    with front(server, maxconn=1) as urls:

        def ask(_) -> list[str]:
            told = []
            with Client(urls["grpc"]) as client:
                for _ in range(3):
                    try:
                        told.append("found" if client.detect(PAGE).labels else "nothing")
                    except Unavailable:
                        told.append("unavailable")
            return told

        with ThreadPoolExecutor(16) as clients:
            told = {one for each in clients.map(ask, range(16)) for one in each}
    assert told == {"found", "unavailable"}


def test_more_than_it_takes_is_refused_soon_and_the_rest_answered(server):
    body = json.dumps({"image": base64.b64encode(PAGE.read_bytes()).decode()}).encode()
    with front(server, maxconn=1) as urls:
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
    assert np.median([took_s for code, took_s in answers if code == 503]) < 1
    assert health_s < 1
