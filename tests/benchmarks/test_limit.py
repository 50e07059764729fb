import numpy as np
import pytest

from benchmarks.in_process import chained, detector_stages, newest_ir, openvino_model
from benchmarks.limit import Workers, bare, read, stage_times, timed


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
