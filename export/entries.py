"""The entries of a detector in the model repository: its ensemble and that one's steps.

NAME              the ensemble, with the contract of document_detector
NAME_model        the graph and its model card, in versions
NAME_postprocess  thresholds and classes; code as in document_postprocess
document_preprocess is every detector's, and has an output for each size and way to fit pages.

All of their settings follow from the newest version, its model card and its graph.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8, ModelConfig

from export.checkpoints import Detector
from export.repository import next_version, read_config, write_config
from inprocess import steps

SHIPPED = "document_detector"
TENSOR = '  {{ name: "{}" data_type: TYPE_{} dims: [ {} ] }}'


@dataclass(frozen=True)
class Graph:
    """What a version's graph takes and gives."""

    fit: Any  # steps.fit.Fit
    backend: str
    inputs: tuple[str, ...]  # pixels, and letterbox where it masks
    output: str
    rows: tuple[int, ...]  # shape of the output


def step_names(name: str) -> tuple[str, str]:
    """The models that hold a detector's graph, and its thresholds."""
    if name == SHIPPED:
        return "document_yolo", "document_postprocess"
    return f"{name}_model", f"{name}_postprocess"


def check_name(repository: Path, name: str, version: int | None, replace: bool) -> int:
    """The version that `name` is exported as, without one the next; ValueError if it may not be."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError(f"name {name!r}: letters, digits, _ and - are known, a letter first")
    graph, postprocess = step_names(name)
    used = [entry for entry in (name, graph, postprocess) if (repository / entry).exists()]
    if used and len(used) < 3:
        raise ValueError(
            f"name {name!r}: {repository / used[0]} is there and no detector of export's"
        )
    if version is None:
        return 1 if replace and name != SHIPPED else next_version(repository / graph)
    if (repository / graph / str(version)).exists() and not replace:
        raise ValueError(
            f"name {name!r}: version {version} is there; --replace puts this one in its place, "
            "no --version the next beside it"
        )
    return version


def check_same(repository: Path, name: str, detector: Detector) -> None:
    """ValueError unless a detector is of the classes and head that `name` has; GRIDS are alike."""
    parameters = read_config(repository / step_names(name)[1] / "config.pbtxt").parameters
    has = (parameters["classes"].string_value, parameters["head"].string_value)
    this = (",".join(detector.classes), detector.head)
    grids = {has[1], this[1]} <= set(steps.heads.GRIDS)
    if has[0] != this[0] or (has[1] != this[1] and not grids):
        raise ValueError(
            f"{name} has classes and head {', '.join(has)}, this one {', '.join(this)}: "
            "--name gives it an entry of its own"
        )


def read_graph(version: Path, fit: Any) -> Graph:
    """The graph in a version's folder, model.xml or model.onnx, for pages fitted as `fit`."""
    file = version / "model.xml"
    if not file.exists():
        file = version / "model.onnx"
    model = ov.Core().read_model(file)
    return Graph(
        fit,
        "openvino" if file.suffix == ".xml" else "onnxruntime",
        tuple(port.any_name for port in model.inputs),
        model.output().any_name,
        tuple(model.output().shape),
    )


def fit_of(card: dict) -> Any:
    """How the pages of a model card are fitted; cards of before there were others say nothing."""
    sizes = card["input"]
    return steps.fit.Fit(
        sizes["width"],
        sizes["height"],
        sizes.get("fit", "letterbox"),
        sizes.get("shortest", 0),
        "float32" in sizes["pixels"],
    )


def settings_of(card: dict) -> dict[str, str]:
    """The parameters of a postprocess step, of a model card."""
    limits = card["thresholds"]
    iou = {"iou": str(limits["iou"])} if "iou" in limits else {}
    return {
        "classes": ",".join(card["classes"]),
        "head": card.get("head", "grid"),  # cards of before there were others
        "max_detections": str(limits["max_detections"]),
        **iou,
        **{f"confidence_{name}": str(at) for name, at in limits["confidence"].items()},
        **{f"review_{name}": str(at) for name, at in limits.get("review", {}).items()},
    }


def suffix(fit: Any) -> str:
    """What follows `pixels` in the name of the output that a detector takes."""
    if fit == steps.fit.Fit(640, 640):
        return ""
    size = f"{fit.width}x{fit.height}"
    words = [size, fit.way, *([fit.shortest] if fit.shortest else [])]
    return "_" + "_".join(map(str, [*words, *(["planes"] if fit.planes else [])]))


def pixels_shape(fit: Any) -> list[int]:
    """Of the tensor that a page becomes."""
    planes = [1, 3, fit.height, fit.width]
    return planes if fit.planes else [1, fit.height, fit.width, 3]


def preprocess_config(config: ModelConfig, fit: Any) -> ModelConfig:
    """document_preprocess' with the outputs for `fit`."""
    config, name = _copied(config), suffix(fit)
    if f"pixels{name}" not in [output.name for output in config.output]:
        kind = TYPE_FP32 if fit.planes else TYPE_UINT8
        config.output.add(name=f"pixels{name}", data_type=kind, dims=pixels_shape(fit))
        config.output.add(name=f"letterbox{name}", data_type=TYPE_FP32, dims=[4])
        way = f"{fit.way} {fit.shortest}" if fit.shortest else fit.way
        config.parameters[f"fit{name}"].string_value = way
    return config


def without_unused(config: ModelConfig, repository: Path) -> ModelConfig:
    """document_preprocess' without outputs and fits that no ensemble of the repository takes."""
    taken = {"page_size", "page_count"}
    for path in repository.glob("*/config.pbtxt"):
        for step in read_config(path).ensemble_scheduling.step:
            if step.model_name == "document_preprocess":
                taken |= set(step.output_map)
    config = _copied(config)
    for output in list(config.output):
        if output.name not in taken:
            config.output.remove(output)
            config.parameters.pop(output.name.replace("pixels", "fit", 1), None)
    return config


def postprocess_config(rows: tuple[int, ...], settings: dict[str, str]) -> ModelConfig:
    """That of a detector whose predictions have the shape `rows`."""
    config = read_config(steps.REPOSITORY / "document_postprocess" / "config.pbtxt")
    config.ClearField("parameters")
    for tensor in config.input:
        if tensor.name == "predictions":
            tensor.dims[:] = rows
    for key, value in settings.items():
        config.parameters[key].string_value = value
    return config


def graph_config(graph: Graph) -> str:
    """config.pbtxt of a detector's graph."""
    kind = "FP32" if graph.fit.planes else "UINT8"
    inputs = [TENSOR.format(graph.inputs[0], kind, _list(pixels_shape(graph.fit)))]
    inputs += [TENSOR.format(name, "FP32", "4") for name in graph.inputs[1:]]
    output = TENSOR.format(graph.output, "FP32", _list(graph.rows))
    return (
        f'backend: "{graph.backend}"\n'
        + "input [\n" + ",\n".join(inputs) + f"\n]\noutput [\n{output}\n]\n"
        "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
    )  # fmt: skip


def ensemble_config(name: str, graph: Graph) -> ModelConfig:
    """That of the ensemble `name`, with the contract of document_detector."""
    config = read_config(steps.REPOSITORY / SHIPPED / "config.pbtxt")
    preprocess, inference, postprocess = config.ensemble_scheduling.step
    for output in list(preprocess.output_map):
        if output.startswith(("pixels", "letterbox")):
            tensor = preprocess.output_map.pop(output)
            preprocess.output_map[tensor + suffix(graph.fit)] = tensor
    inference.model_name, postprocess.model_name = step_names(name)
    inference.input_map.clear()
    for tensor, source in zip(graph.inputs, ("pixels", "letterbox"), strict=False):
        inference.input_map[tensor] = source
    inference.output_map.clear()
    inference.output_map[graph.output] = "predictions"
    return config


def write(repository: Path, name: str, version: int) -> None:
    """All entries of the detector `name`, as its version says, which is there."""
    graph_name, postprocess = step_names(name)
    folder = repository / graph_name / str(version)
    card = json.loads((folder / "model_card.json").read_text())
    graph = read_graph(folder, fit_of(card))
    code = {postprocess: "document_postprocess", "document_preprocess": "document_preprocess"}
    for step, shipped in code.items():
        if not (repository / step).exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(steps.REPOSITORY / shipped, repository / step, ignore=ignored)
    (repository / name / "1").mkdir(parents=True, exist_ok=True)
    (repository / name / "1" / ".gitkeep").touch()  # Triton wants a version folder

    config = text_format.Parse(graph_config(graph), ModelConfig())
    write_config(repository / graph_name / "config.pbtxt", config)
    write_config(
        repository / postprocess / "config.pbtxt", postprocess_config(graph.rows, settings_of(card))
    )
    write_config(repository / name / "config.pbtxt", ensemble_config(name, graph))
    preprocess = repository / "document_preprocess" / "config.pbtxt"
    wider = preprocess_config(read_config(preprocess), graph.fit)
    write_config(preprocess, without_unused(wider, repository))


def remove(repository: Path, name: str) -> None:
    """Takes a detector out, in all versions."""
    for entry in (name, *step_names(name)):
        shutil.rmtree(repository / entry)


def _copied(config: ModelConfig) -> ModelConfig:
    copy = ModelConfig()
    copy.CopyFrom(config)
    return copy


def _list(numbers: Any) -> str:
    return ", ".join(map(str, numbers))
