"""The detectors that a published choice compared, on this machine's CPU: which one to train.

    python -m benchmarks.speed.models --out REPORT [--model yolo11n ...] [--seconds 5]

Each is made with random weights at 640 pixels, exported as export does, and timed alone in one
process at f32, the CPU's default precision and INT8, in turns. Latency does not depend on weights;
accuracy does, and is the published one. REPORT gets models.json, models.png and models.md. The IRs
stay in REPORT/ir. 7 minutes on 2 cores, most of it for making them.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import openvino as ov
import torch
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    ConditionalDetrImageProcessor,
    ResNetConfig,
)
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from benchmarks.machine import command, machine
from benchmarks.speed.limit import timed
from benchmarks.speed.records import Latency
from export.checkpoints import load
from export.detector import quantised, to_graph
from export.graphs import F32

matplotlib.use("Agg")
from matplotlib import pyplot

SIDE = 640
CALIBRATION = 4  # images of noise: INT8's speed does not depend on them
CLASSES = {0: "signature"}
DETR = "conditional-detr-resnet-50"
# mAP50 on the test pages of tech4humans/signature-detection, as its publisher compared them
PUBLISHED = {
    "yolov8n": 0.816,
    "yolov8s": 0.875,
    "yolov8m": 0.875,
    "yolov10n": 0.734,
    "yolo11n": 0.814,
    "yolo11s": 0.836,
    "yolo26n": None,  # newer than the comparison
    "rtdetr-l": 0.927,
    DETR: 0.937,
}
PRECISIONS = {
    "f32": ("float", F32),
    "default": ("float", {}),
    "int8": ("int8", {}),
}


def checkpoint(name: str, folder: Path) -> Path:
    """A checkpoint of that architecture with random weights, as its framework saves them."""
    torch.manual_seed(0)
    if name == DETR:
        layers: dict[str, Any] = {"out_features": ["stage4"]}
        backbone: Any = ResNetConfig(**layers)  # whose defaults are ResNet-50
        config = ConditionalDetrConfig(backbone_config=backbone, id2label=CLASSES)
        processor = ConditionalDetrImageProcessor(size={"height": SIDE, "width": SIDE})
        ConditionalDetrForObjectDetection(config).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        return folder / name
    kind = RTDETRDetectionModel if name.startswith("rtdetr") else DetectionModel
    network: Any = kind(f"{name}.yaml", nc=len(CLASSES), verbose=False)
    network.names, network.args = CLASSES, {"imgsz": SIDE}
    path = folder / f"{name}.pt"
    torch.save({"model": network, "train_args": network.args}, path)
    return path


def make(name: str, folder: Path) -> None:
    """The detector's IRs, NAME.float.xml and NAME.int8.xml in `folder`, unless they are there."""
    float_file, int8_file = (folder / f"{name}.{weights}.xml" for weights in ("float", "int8"))
    if int8_file.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        detector = load(str(checkpoint(name, Path(scratch))))
        graph = to_graph(detector, Path(scratch) / "graph.onnx")
        ov.save_model(graph, float_file)
        rng = np.random.default_rng(0)
        images = [inputs(graph, rng) for _ in range(CALIBRATION)]
        ov.save_model(quantised(detector, graph, images), int8_file)


def inputs(graph: ov.Model, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A page of noise for every input of the graph: pixels, and letterbox if it has one."""
    noise = rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    box = np.array([0, 0, SIDE, SIDE], np.float32)
    return {"pixels": noise} | ({"letterbox": box} if len(graph.inputs) > 1 else {})


@dataclass(frozen=True)
class Candidate:
    """One network's figures."""

    model: str
    published_map50: float | None
    weights_mb: float  # as FP16
    latency: dict[str, Latency]  # by precision


def measure(name: str, folder: Path, seconds: float, rounds: int) -> Candidate:
    """Times each precision in turns of `seconds`."""
    rng = np.random.default_rng(0)
    core, runs = ov.Core(), {}
    times: defaultdict[str, list[float]] = defaultdict(list)
    for precision, (weights, settings) in PRECISIONS.items():
        graph = core.read_model(folder / f"{name}.{weights}.xml")
        page = inputs(graph, rng)
        request = core.compile_model(
            graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", **settings}
        ).create_infer_request()
        runs[precision] = (request.infer, page)
    for _ in range(rounds):
        for precision, (infer, page) in runs.items():
            times[precision].extend(timed(infer, [page], seconds))
    return Candidate(
        model=name,
        published_map50=PUBLISHED[name],
        weights_mb=(folder / f"{name}.float.bin").stat().st_size / 1e6,
        latency={precision: Latency.of(taken) for precision, taken in times.items()},
    )


def table(candidates: Sequence[Candidate]) -> str:
    """The figures in Markdown, the quickest first."""
    lines = [
        "| | published mAP50 | f32 | default precision | INT8 | weights as FP16 |",
        "|---|---|---|---|---|---|",
    ]
    for each in sorted(candidates, key=lambda each: each.latency["default"].p50):
        accuracy = f"{each.published_map50:.3f}" if each.published_map50 else "not published"
        cells = (f"{each.latency[precision].p50:.1f} ms" for precision in PRECISIONS)
        lines.append(
            f"| {each.model} | {accuracy} | {' | '.join(cells)} | {each.weights_mb:.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def draw(candidates: Sequence[Candidate], target: Path) -> None:
    """Published accuracy over latency at the default precision and INT8."""
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for precision, marker in (("default", "o"), ("int8", "^")):
        places = {
            each.model: (each.latency[precision].p50, each.published_map50)
            for each in candidates
            if each.published_map50
        }
        axes.plot(*zip(*places.values(), strict=True), marker, label=precision)
        if precision == "default":
            for name, place in places.items():
                axes.annotate(name, place, xytext=(5, 4), textcoords="offset points")
    axes.set(xlabel="ms a page, network alone, median", ylabel="published mAP50")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--seconds", type=float, default=5, help="of a turn of one precision")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    folder = args.out / "ir"
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.model:
        print(name, flush=True)
        make(name, folder)
    candidates = [measure(name, folder, args.seconds, args.rounds) for name in args.model]
    report = {
        "models": [asdict(each) for each in candidates],
        "command": command(),
        "machine": machine(),
    }
    (args.out / "models.json").write_text(json.dumps(report, indent=2) + "\n")
    (args.out / "models.md").write_text(table(candidates))
    draw(candidates, args.out / "models.png")
    print(table(candidates))


if __name__ == "__main__":
    main()
