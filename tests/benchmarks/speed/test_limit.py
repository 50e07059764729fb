import math

import numpy as np
import pytest

from benchmarks.speed.limit import (
    Workers,
    bare,
    ideal_tail,
    newest_ir,
    one_at_a_time,
    read,
    steps_alone,
    timed,
)
from inprocess import Detector
from server import Settings


def test_work_is_timed_one_value_after_the_other():
    seen = []
    times = timed(seen.append, [1, 2], 0)
    assert seen == [1, 2, 1, 2]  # once to warm up
    assert len(times) == 2


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(Settings().repository)


@pytest.mark.alone
def test_the_steps_take_what_the_whole_work_takes(detector, corpus):
    pages = read(corpus, "a4_150_jpeg")
    steps = steps_alone(detector.ensemble, pages, 0.5)
    assert list(steps) == ["document_preprocess", "document_yolo", "document_postprocess"]
    whole = one_at_a_time(detector.detect, pages, 0.5).latency.p50
    assert sum(steps.values()) == pytest.approx(whole, rel=0.5)


@pytest.mark.alone
def test_the_bare_graph_is_faster_than_the_whole_work(detector, corpus):
    alone = bare(newest_ir("document_yolo"), "latency", 1)
    assert alone.throughput == pytest.approx(1000 / alone.p50_ms, rel=0.5)
    whole = one_at_a_time(detector.detect, read(corpus, "a4_150_jpeg"), 1)
    assert whole.latency.p50 > alone.p50_ms / 2


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
