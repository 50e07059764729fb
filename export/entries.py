"""The entries of a detector in the model repository: its ensemble and that one's steps.

NAME              the ensemble, with the contract of document_detector
NAME_model        the graph and its model card, in versions
NAME_postprocess  thresholds and classes; code as in document_postprocess
document_preprocess is every detector's, and gets an output for each new size or way to fit pages.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_FP32, TYPE_UINT8

from export.checkpoints import Detector
from export.repository import next_version, read_config, set_parameters
from inprocess import steps

SHIPPED = "document_detector"
TENSOR = '  {{ name: "{}" data_type: TYPE_{} dims: [ {} ] }}'


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
    """ValueError unless a detector is of the classes, head and input that `name` has."""
    parameters = read_config(repository / step_names(name)[1] / "config.pbtxt").parameters
    steps_of = read_config(repository / name / "config.pbtxt").ensemble_scheduling.step
    has = (
        parameters["classes"].string_value,
        parameters["head"].string_value,
        *(output for output in steps_of[0].output_map if output.startswith("pixels")),
    )
    this = (",".join(detector.classes), detector.head, f"pixels{suffix(detector.fit)}")
    if has != this:
        raise ValueError(
            f"{name} has classes, head and input {', '.join(has)}, this one {', '.join(this)}: "
            "--name gives it an entry of its own"
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


def write_preprocess(repository: Path, fit: Any) -> None:
    """Gives document_preprocess the outputs for `fit`; copies it into a repository without one."""
    folder = repository / "document_preprocess"
    if not folder.exists():
        _copy(steps.REPOSITORY / "document_preprocess", folder)
    config = read_config(folder / "config.pbtxt")
    name = suffix(fit)
    if f"pixels{name}" in [output.name for output in config.output]:
        return
    kind = TYPE_FP32 if fit.planes else TYPE_UINT8
    config.output.add(name=f"pixels{name}", data_type=kind, dims=pixels_shape(fit))
    config.output.add(name=f"letterbox{name}", data_type=TYPE_FP32, dims=[4])
    way = f"{fit.way} {fit.shortest}" if fit.shortest else fit.way
    config.parameters[f"fit{name}"].string_value = way
    text = text_format.MessageToString(config, use_short_repeated_primitives=True)
    (folder / "config.pbtxt").write_text(text)


def write_postprocess(folder: Path, rows: list[int], settings: dict[str, str]) -> None:
    """The step of a detector whose predictions have the shape `rows`."""
    shipped = steps.REPOSITORY / "document_postprocess"
    _copy(shipped, folder)
    config = read_config(shipped / "config.pbtxt")
    config.ClearField("parameters")
    for tensor in config.input:
        if tensor.name == "predictions":
            tensor.dims[:] = rows
    text = text_format.MessageToString(config, use_short_repeated_primitives=True)
    (folder / "config.pbtxt").write_text(text)
    set_parameters(folder / "config.pbtxt", settings)


def graph_config(detector: Detector, tensors: tuple[str, str], rows: list[int]) -> str:
    """config.pbtxt of a graph that takes and gives the two tensors of these names."""
    kind = "FP32" if detector.fit.planes else "UINT8"
    shape = ", ".join(map(str, pixels_shape(detector.fit)))
    inputs = [TENSOR.format(tensors[0], kind, shape)]
    if detector.masked:
        inputs.append(TENSOR.format("letterbox", "FP32", "4"))
    backend = "onnxruntime" if isinstance(detector.graph, Path) else "openvino"
    output = TENSOR.format(tensors[1], "FP32", ", ".join(map(str, rows)))
    return (
        f'backend: "{backend}"\n'
        + "input [\n" + ",\n".join(inputs) + f"\n]\noutput [\n{output}\n]\n"
        "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
    )  # fmt: skip


def ensemble_config(name: str, detector: Detector, tensors: tuple[str, str]) -> str:
    """config.pbtxt of the ensemble `name`, with the contract of document_detector."""
    config = read_config(steps.REPOSITORY / SHIPPED / "config.pbtxt")
    preprocess, graph, postprocess = config.ensemble_scheduling.step
    for output in ("pixels", "letterbox"):
        preprocess.output_map[output + suffix(detector.fit)] = preprocess.output_map.pop(output)
    graph.model_name, postprocess.model_name = step_names(name)
    graph.input_map[tensors[0]] = graph.input_map.pop("pixels")
    if detector.masked:
        graph.input_map["letterbox"] = "letterbox"
    graph.output_map[tensors[1]] = graph.output_map.pop("predictions")
    return text_format.MessageToString(config, use_short_repeated_primitives=True)


def write(
    repository: Path,
    name: str,
    detector: Detector,
    tensors: tuple[str, str],
    rows: list[int],
    settings: dict[str, str],
) -> None:
    """All entries of a new detector whose version is there; the ensemble last.

    `tensors` are the names of its graph's input and output, `rows` is the output's shape.
    """
    graph, postprocess = step_names(name)
    (repository / graph / "config.pbtxt").write_text(graph_config(detector, tensors, rows))
    write_postprocess(repository / postprocess, rows, settings)
    write_preprocess(repository, detector.fit)
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / ".gitkeep").touch()  # Triton wants a version folder
    (repository / name / "config.pbtxt").write_text(ensemble_config(name, detector, tensors))


def remove(repository: Path, name: str) -> None:
    """Takes a detector out, in all versions."""
    for entry in (name, *step_names(name)):
        shutil.rmtree(repository / entry)


def _copy(step: Path, folder: Path) -> None:
    shutil.copytree(step, folder, ignore=shutil.ignore_patterns("__pycache__"))
