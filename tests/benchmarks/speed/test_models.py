import numpy as np
import pytest
from PIL import Image

from benchmarks.speed.models import PUBLISHED, checkpoint, draw, inputs, table
from export.checkpoints import load
from export.detector import to_graph


def row(name: str, ms: float) -> dict:
    times = {precision: {"p50": ms} for precision in ("f32", "default", "int8")}
    map50 = PUBLISHED[name]
    return {"model": name, "published_map50": map50, "weights_mb": 5.4, "latency_ms": times}


@pytest.mark.parametrize(("name", "rows"), [("yolov10n", 300), ("yolo11n", 8400)])
def test_a_candidate_is_made_and_answers_at_its_size(tmp_path, name, rows):
    graph = to_graph(load(str(checkpoint(name, tmp_path))), tmp_path / "graph.onnx")
    assert rows in tuple(graph.output().shape)
    page = inputs(graph, np.random.default_rng(0))
    assert page["pixels"].shape == tuple(graph.input("pixels").shape)


def test_the_table_begins_with_the_quickest():
    lines = table([row("yolov8s", 20.0), row("yolo26n", 9.5)]).splitlines()
    assert lines[2] == "| yolo26n | not published | 9.5 ms | 9.5 ms | 9.5 ms | 5 MB |"
    assert lines[3] == "| yolov8s | 0.875 | 20.0 ms | 20.0 ms | 20.0 ms | 5 MB |"


def test_the_plot_is_a_picture(tmp_path):
    draw([row("yolov8s", 20.0), row("yolo26n", 9.5)], tmp_path / "models.png")
    assert Image.open(tmp_path / "models.png").width > 600
