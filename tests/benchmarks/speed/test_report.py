import base64
import io
import re

import pytest
from PIL import Image

from benchmarks.speed.bench import allowed, over, rows, throughput
from benchmarks.speed.report import page, stages
from benchmarks.speed.verdicts import against_targets, read_targets


def load(rate: float, p50: float) -> dict:
    latency = {"p50": p50, "p90": p50, "p95": p50, "p99": 3 * p50}
    kinds = {"a4_150_jpeg": latency}
    return {"throughput": rate, "latency_ms": latency, "by_kind": kinds, "failures": 0}


@pytest.fixture
def found() -> dict:
    """A run of two turns, its figures chosen so that ratios are round."""
    stage_ms = {"decode": 6.0, "preprocess": 2.0, "inference": 10.0, "postprocess": 1.0}
    alone = load(50, 20) | {"stages_ms": stage_ms}
    peer = {"a4_150_jpeg, 8": load(20, 200), "a4_300_jpeg, 8": load(10, 400)}
    own = {"a4_150_jpeg, 8": load(50, 80), "a4_300_jpeg, 8": load(40, 90)}
    own["a4_150_jpeg, 1"] = load(40, 25)
    spent = {"document_preprocess": 8.0, "document_yolo": 20.0, "transport": 2.0}
    return {
        "command": "python -m benchmarks.speed.bench",
        "machine": {"cpu": "a < b"},
        "peers_weights": "random",
        "limit": {
            "bare": {
                "document_yolo": {
                    "latency": {"p50_ms": 10.0, "throughput": 100.0},
                    "throughput": {"p50_ms": 15.0, "throughput": 130.0},
                }
            },
            "in_process": {"a4_150_jpeg": alone, "captcha": alone},
            "workers": {
                "a4_150_jpeg": {"throughput": 80.0, "workers": 2},
                "captcha": {"throughput": 500.0, "workers": 2},
            },
        },
        "served": {
            "start_s": 4.0,
            "one_client": {"captcha": load(300, 3)},
            "one_client_http": load(30, 30),
            "steps_ms": {"document_yolo": 12.0},
            "closed, mix": {"1": load(30, 30), "8": load(60, 130)},
            "closed, a4_150_jpeg": {"1": load(40, 25), "8": load(50, 160)},
            "capacity": {"captcha": load(450, 17)},
            "open": {"0.7": load(42, 40), "1.2": load(48, 900)},
            "behind_haproxy": load(57, 300),
            "cpu_ms": {
                "a4_150_jpeg": spent | {"load generator": 3.0},
                "captcha": {"transport": 1.0, "load generator": 3.0},
            },
            "soak": load(60, 130),
            "memory": [(0.5, 50, 10), (2, 100, 20), (3, 101, 20), (4, 103, 20)],
        },
        "turns": {
            "served": [own, own],
            "FastAPI": [peer, peer],
            "LitServe": [peer, peer],
            "in process": [{"a4_150_jpeg, 1": load(50, 20)}] * 2,
            "a process a core": [{"a4_150_jpeg, 8": {"throughput": 62.5}}] * 2,
        },
    }


def test_rows_are_ratios_of_the_same_turn(found):
    assert rows(found) == {
        "page latency": [1.25, 1.25],
        "page capacity": [0.8, 0.8],
        "captcha latency": [3],
        "captcha capacity": [0.9],
        "start": [4.0],
        "tail at 70 % load": [3.0],
        "goodput at 120 % load": [0.95],
        "FastAPI, capacity at 150 dpi": [2.5, 2.5],
        "FastAPI, capacity at 300 dpi": [4.0, 4.0],
        "FastAPI, p50 at 8 clients": [0.4, 0.4],
        "LitServe, capacity at 150 dpi": [2.5, 2.5],
        "LitServe, p99 at 8 clients": [0.4, 0.4],
        "memory over the soak": [1.03],
        "shared memory over the soak": [1.0],
    }


def test_every_target_has_its_row(found):
    assert set(rows(found)) == set(read_targets())


def test_transport_and_load_generator_are_not_the_servers_to_save(found):
    reached = allowed(found)
    assert reached["page capacity"] == pytest.approx(25 / 30)  # 25 ms of work, 5 beside it
    assert reached["captcha capacity"] == pytest.approx(4 / 8)


def test_turns_are_paired(found):
    found["turns"]["FastAPI"][1] = {"a4_150_jpeg, 8": load(25, 200)}
    assert over(found, "FastAPI", "a4_150_jpeg, 8", throughput) == [2.5, 2.0]


def test_a_process_of_two_stages_is_split_as_in_process(found):
    own = stages(found)["a4_150_jpeg"]
    assert (own["decode"], own["preprocess"], own["inference"]) == (6, 2, 20)


def test_the_page_has_its_plots_and_says_what_was_missed(found):
    found |= {"allowed": {"page capacity": 0.8333}}
    html = page(found, against_targets(rows(found), read_targets()))
    pictures = re.findall(r'base64,([^"]+)"', html)
    assert len(pictures) == 4
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 400
    assert "broken, by 11%</td><td>0.833<" in html  # page capacity: 0.8 of 0.9
    assert "a &lt; b" in html
