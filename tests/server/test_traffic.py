"""What came of requests, by the front's log; and their ids, at a real server."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from countersign import Client, Refused
from server.traffic import Traffic, outcome

RECORD = {
    "call": "generate",
    "grpc": None,
    "id": "a",
    "milliseconds": 40,
    "model": "captcha_reader",
    "refused": None,
    "replica": "server_1/http.sock",
    "sent": 5,
    "status": 200,
    "time": "2026-01-01T00:00:00.000Z",
    "type": "DownstreamEnd",
}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, "answered"),
        ({"status": 503, "refused": "busy"}, "busy"),
        ({"status": 503}, "unavailable"),
        ({"status": 400}, "invalid"),
        ({"status": 413}, "refused"),
        ({"status": 500}, "error"),
        ({"status": 0}, "cancelled"),
        ({"call": "grpc_infer", "grpc": 0}, "answered"),
        ({"call": "grpc_infer", "grpc": 14}, "unavailable"),
        ({"call": "grpc_infer", "grpc": 13}, "error"),
    ],
)
def test_an_outcome_is_told_from_a_record(record, expected):
    assert outcome(RECORD | record) == expected


def test_answers_are_counted_in_buckets_and_health_is_not():
    traffic = Traffic(["captcha_reader"], shows=False)
    for more in ({}, {"milliseconds": 99_000}, {"status": 500}, {"call": "grpc_health"}):
        traffic.see(json.dumps(RECORD | more))
    traffic.see('{"call": "generate", "st')  # torn
    text = "\n".join(traffic.lines())
    for sample in (
        'countersign_requests_total{model="captcha_reader",outcome="answered"} 2',
        'countersign_requests_total{model="captcha_reader",outcome="error"} 1',
        'countersign_requests_total{model="captcha_reader",outcome="busy"} 0',
        'countersign_request_seconds_bucket{model="captcha_reader",le="0.025"} 0',
        'countersign_request_seconds_bucket{model="captcha_reader",le="0.05"} 1',
        'countersign_request_seconds_bucket{model="captcha_reader",le="60"} 1',
        'countersign_request_seconds_bucket{model="captcha_reader",le="+Inf"} 2',
        'countersign_request_seconds_sum{model="captcha_reader"} 99.040',
        'countersign_request_seconds_count{model="captcha_reader"} 2',
    ):
        assert sample in text, sample


def test_a_request_is_known_to_wait_from_its_first_line_to_its_last():
    traffic = Traffic(["captcha_reader"], shows=False)
    now, began = time.monotonic(), datetime.now(timezone.utc) - timedelta(seconds=9)
    record = RECORD | {"time": f"{began:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"}
    for more in ({"sent": 4000}, {"id": "b", "sent": None}, {"id": "c", "replica": None}):
        traffic.see(json.dumps(record | more | {"type": "DownstreamPeriodic", "status": 0}))
    assert traffic.waiting_since("server_1", "captcha_reader") == pytest.approx(now - 5, abs=0.5)
    assert traffic.waiting_since("server_2", "captcha_reader") is None
    assert traffic.waiting_since("server_1", "document_detector") is None
    assert 'answered"} 0' in "\n".join(traffic.lines())
    traffic.see(json.dumps(record))
    assert traffic.waiting_since("server_1", "captcha_reader") is None


def test_an_answer_has_the_id_that_its_request_had_or_one_of_its_own(server):
    url = f"http://{server.http_url}/v2/health/live"
    request = urllib.request.Request(url, headers={"X-Request-Id": "page-7.of_9"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["x-request-id"] == "page-7.of_9"
    with urllib.request.urlopen(url) as answer:
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


@pytest.mark.parametrize("bad", ["a b", "a" * 65, 'a"'])
def test_an_id_that_is_none_is_refused(server, bad):
    url = f"http://{server.http_url}/v2/health/live"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, headers={"X-Request-Id": bad}))
    assert refused.value.code == 400
    assert "x-request-id: a" in refused.value.read().decode()


@pytest.fixture
def metric(server) -> Callable[[str], float]:
    """Sums the samples whose beginning is a regular expression, once the log has come in."""

    def metric(begin: str) -> float:
        with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as reply:
            text = reply.read().decode()
        return sum(map(float, re.findall(rf"^{begin}.* (\S+)$", text, re.MULTILINE)))

    return metric


def grows(metric: Callable[[str], float], begin: str, before: float, by: float) -> None:
    """AssertionError unless the sum of these samples soon is so much more."""
    deadline = time.monotonic() + 15
    while metric(begin) < before + by and time.monotonic() < deadline:
        time.sleep(0.2)
    assert metric(begin) == before + by


def test_requests_are_counted_by_what_came_of_them(server, client, samples, metric):
    answered = r'countersign_requests_total\{model="captcha_reader",outcome="answered"'
    invalid = r'countersign_requests_total\{model="captcha_reader",outcome="invalid"'
    before = metric(answered), metric(invalid)
    client.read(samples / "captcha_plain.png")
    with pytest.raises(Refused) as refused:
        client.read(b"no image")
    assert re.fullmatch(r"[0-9a-f]{32}", refused.value.request_id)
    grows(metric, answered, before[0], 1)
    grows(metric, invalid, before[1], 1)


def test_pages_and_their_detections_are_counted_but_not_the_samples_of_the_server(
    server, samples, sample_pages, metric
):
    """Triton is told every two seconds, by what the step is then asked: a sample every three."""
    names = ("pages_total", "score_count", "pages_without_detections_total")
    time.sleep(5.5)
    before = [metric(f"countersign_{name}") for name in names]
    with Client(server.grpc_url) as client:
        client.detect(samples / "page_150dpi.jpg")
        client.detect(samples / "page_150dpi.jpg", confidence=1.0)
    boxes = len(sample_pages["page_150dpi.jpg"]["boxes"])
    for name, start, more in zip(names, before, (2, boxes, 1), strict=True):
        grows(metric, f"countersign_{name}", start, more)
