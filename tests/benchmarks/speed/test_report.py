import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks.speed.ratios import LARGE_PAGES, ONE_PAGE, PAGES, allowed, over, rows, throughput
from benchmarks.speed.records import (
    Figures,
    Latency,
    Limit,
    MemorySample,
    Rate,
    Run,
    Served,
    Speed,
    Together,
)
from benchmarks.speed.report import contenders, page
from benchmarks.speed.verdicts import against_targets, read_targets


def latency(p50: float) -> Latency:
    return Latency(p50, p50, p50, 3 * p50)


def load(rate: float, p50: float) -> Figures:
    kinds = {"a4_150_jpeg": latency(p50)}
    return Figures(100, 80, rate, 0, "", latency(p50), kinds, client_cpu_ms=1.0)


def speed(rate: float, p50: float) -> Speed:
    return Speed(latency(p50), rate)


@pytest.fixture
def run() -> Run:
    """A run of two turns, its figures chosen so that ratios are round."""
    peer = {PAGES: [speed(20, 200)] * 2, LARGE_PAGES: [speed(10, 400)] * 2}
    ours = {
        ONE_PAGE: [speed(40, 25)] * 2,
        PAGES: [speed(50, 80)] * 2,
        LARGE_PAGES: [speed(40, 90)] * 2,
    }
    alone = {"document_preprocess": 8.0, "document_yolo": 10.0, "document_postprocess": 1.0}
    spent = {"document_preprocess": 8.0, "document_yolo": 20.0, "transport": 2.0}
    return Run(
        command="python -m benchmarks.speed.bench",
        machine={"cpu": "a < b"},
        peers_weights="random",
        limit=Limit(
            latency={"document_yolo": Rate(10.0, 100.0)},
            throughput={"document_yolo": Rate(15.0, 130.0)},
            in_process={"a4_150_jpeg": speed(50, 20), "captcha": speed(500, 2)},
            steps_ms={"a4_150_jpeg": alone},
            workers={"a4_150_jpeg": Together(80.0, 2), "captcha": Together(500.0, 2)},
        ),
        served=Served(
            start_s=4.0,
            one_client={"captcha": load(300, 3)},
            one_client_http=load(30, 30),
            steps_ms={"document_yolo": 12.0},
            closed={
                "mix": {1: load(30, 30), 8: load(60, 130), 32: load(60, 300)},
                "a4_150_jpeg": {1: load(40, 25), 8: load(50, 160)},
            },
            capacity={"captcha": load(450, 17)},
            arrivals={0.7: load(42, 40), 1.2: load(57, 300)},
            cpu_ms={
                "a4_150_jpeg": spent | {"load generator": 3.0},
                "captcha": {"transport": 1.0, "load generator": 3.0},
            },
            soak=load(60, 130),
            memory=[MemorySample(*each) for each in SAMPLES],
        ),
        turns={
            "served": ours,
            "Triton alone": {ONE_PAGE: [speed(40, 24)] * 2, PAGES: [speed(62.5, 80)] * 2},
            "gateway": {ONE_PAGE: [speed(33, 28)] * 2, PAGES: [speed(45, 90)] * 2},
            "FastAPI": peer,
            "LitServe": peer,
            "in process": {ONE_PAGE: [speed(50, 20)] * 2},
        },
        a_process_a_core=[62.5, 62.5],
    )


SAMPLES = [(0.5, 50, 10), (2, 100, 20), (3, 101, 20), (4, 103, 20)]  # s, MiB, MiB


def test_rows_are_ratios_of_the_same_turn(run):
    assert rows(run) == {
        "page latency": [1.25, 1.25],
        "page capacity": [0.8, 0.8],
        "captcha latency": [3],
        "captcha capacity": [0.9],
        "start": [4.0],
        "tail at 70 % load": [3.0],
        "goodput at 120 % load": [0.95],
        "crowd": [900.0],
        "front, latency": [1.0, 1.0],
        "front, capacity": [0.8, 0.8],
        "gateway, latency": [3.0, 3.0],
        "gateway, capacity": [0.9, 0.9],
        "FastAPI, capacity at 150 dpi": [2.5, 2.5],
        "FastAPI, capacity at 300 dpi": [4.0, 4.0],
        "FastAPI, p50 at 8 clients": [0.4, 0.4],
        "LitServe, capacity at 150 dpi": [2.5, 2.5],
        "LitServe, p99 at 8 clients": [0.4, 0.4],
        "memory over the soak": [1.03],
        "shared memory over the soak": [1.0],
    }


def test_every_target_has_its_row(run):
    assert set(rows(run)) == set(read_targets())


def test_transport_and_load_generator_are_not_the_servers_to_save(run):
    reached = allowed(run)
    assert reached["page capacity"] == pytest.approx(25 / 30)  # 25 ms of work, 5 beside it
    assert reached["captcha capacity"] == pytest.approx(4 / 8)


def test_turns_are_paired(run):
    run = replace(run, turns=run.turns | {"FastAPI": {PAGES: [speed(20, 200), speed(25, 200)]}})
    assert over(run, "FastAPI", PAGES, throughput) == [2.5, 2.0]
    row = next(each for each in contenders(run) if each.name == "FastAPI")
    assert (row.rate, row.low, row.high) == (22.5, 2.0, 2.5)


def test_the_page_shows_figures_and_plots_and_says_what_was_missed(run):
    html = page(run, against_targets(rows(run), read_targets()), {"page capacity": 0.8333})
    text = re.sub(r"<[^>]+>|\s+", " ", re.sub(r'src="[^"]+"', "", html))
    text = re.sub(r" +", " ", text)
    pictures = re.findall(r'base64,([^"]+)"', html)
    assert len(pictures) == 4
    for picture in pictures:
        Image.open(io.BytesIO(base64.b64decode(picture))).verify()
    assert "0.8 0.8 to 0.8 at least 0.9 broken, by 11% 0.833" in text  # page capacity
    assert "cpu a &lt; b" in text
    assert "a4_150_jpeg, 8 clients 50 160 160 160 480 0" in text
    assert "120% of capacity 57 300" in text
    assert "document_yolo 12 10" in text  # a step served and alone
    assert "document_yolo, benchmark_app 10 130" in text
    assert "FastAPI a4_150_jpeg, 8 20 200 600 2.5 to 2.5" in text
    assert "a process a core a4_150_jpeg, 8 62.5" in text
