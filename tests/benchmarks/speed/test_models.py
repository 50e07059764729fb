import numpy as np
import pytest

from benchmarks.speed.models import PUBLISHED, Candidate, checkpoint, inputs, table
from benchmarks.speed.records import Latency
from export.checkpoints import load
from export.detector import to_graph


def candidate(name: str, ms: float) -> Candidate:
    times = dict.fromkeys(("f32", "default", "int8"), Latency(ms, ms, ms, ms))
    return Candidate(name, PUBLISHED[name], weights_mb=5.4, latency=times)


@pytest.mark.parametrize(("name", "rows"), [("yolov10n", 300), ("yolo11n", 8400)])
def test_a_candidate_is_made_and_answers_at_its_size(tmp_path, name, rows):
    graph = to_graph(load(str(checkpoint(name, tmp_path))), tmp_path / "graph.onnx")
    assert rows in tuple(graph.output().shape)
    page = inputs(graph, np.random.default_rng(0))
    assert page["pixels"].shape == tuple(graph.input("pixels").shape)


def test_the_table_begins_with_the_quickest():
    lines = table([candidate("yolov8s", 20.0), candidate("yolo26n", 9.5)]).splitlines()
    assert lines[2] == "| yolo26n | not published | 9.5 ms | 9.5 ms | 9.5 ms | 5 MB |"
    assert lines[3] == "| yolov8s | 0.875 | 20.0 ms | 20.0 ms | 20.0 ms | 5 MB |"
