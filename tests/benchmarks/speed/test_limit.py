import math

import numpy as np
import pytest

from benchmarks.in_process import chained, detector_stages, newest_ir, openvino_model
from benchmarks.speed.limit import Workers, bare, ideal_tail, read, stage_times, timed


def test_work_is_timed_one_value_after_the_other():
    seen = []
    times = timed(seen.append, [1, 2], 0)
    assert seen == [1, 2, 1, 2]  # once to warm up
    assert len(times) == 2


def test_each_stage_is_timed_and_hands_its_value_on():
    stages = {"decode": lambda image: len(image), "preprocess": lambda length: length + 1}
    assert chained(stages)(b"abc") == 4
    times = stage_times(stages, [b"abc"], 0.01)
    assert list(times) == ["decode", "preprocess"]
    assert all(0 < value < 10 for value in times.values())


def test_the_bare_graph_is_faster_than_the_whole_work(corpus):
    graph = newest_ir("document_yolo")
    alone = bare(graph, "latency", 1)
    assert alone["throughput"] == pytest.approx(1000 / alone["p50_ms"], rel=0.5)
    whole = chained(detector_stages(openvino_model(graph)))
    assert np.median(timed(whole, read(corpus, "a4_150_jpeg"), 1)) > alone["p50_ms"] / 2


def test_a_graph_that_is_missing_is_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)benchmark_app: .*none\.xml"):
        bare(tmp_path / "none.xml", "latency", 1)


def test_workers_read_captchas_together(corpus):
    with Workers(captcha=True, count=2) as workers:
        assert workers.throughput(read(corpus, "captcha"), 0.5) > 10


def waits_at_most(load: float, time: float) -> float:
    """Probability in an M/D/1 queue, time in services (A. K. Erlang, 1909)."""
    terms = ((load * (k - time)) ** k / math.factorial(k) for k in range(int(time) + 1))
    return (1 - load) * sum(term * math.exp(load * (time - k)) for k, term in enumerate(terms))


def test_one_core_is_erlangs_queue():
    times = np.linspace(0, 12, 2401)
    known = np.array([waits_at_most(0.7, time) for time in times])
    p50, p99 = (1 + times[np.searchsorted(known, share)] for share in (0.5, 0.99))
    assert ideal_tail({"page_640": 20.0}, 1, 0.7, "page_640") == pytest.approx(p99 / p50, rel=0.05)


def test_files_that_never_meet_do_not_wait():
    lengths = {"page_640": 20.0, "captcha": 1.0}
    assert ideal_tail(lengths, 2, 0.0001, "captcha") == pytest.approx(1)
