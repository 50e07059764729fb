"""ONNX -> OpenVINO graph, of operations that the servers' OpenVINO knows."""

from pathlib import Path

import openvino as ov
from openvino import opset1, opset4

NEWEST_OPSET = 14  # 15 came with OpenVINO 2024.4, that of Triton 24.10's native backend
F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else a CPU with native bfloat16 uses it


def convert(onnx: Path) -> ov.Model:
    """The graph of an ONNX file, whose operations are of NEWEST_OPSET or older.

    ValueError names one that is not and has no older form here.
    """
    graph = ov.convert_model(onnx)
    older = {"AvgPool": older_pool, "ScatterNDUpdate": older_scatter}
    for operation in graph.get_ops():
        if opset(operation) > NEWEST_OPSET and operation.get_type_name() in older:
            ov.utils.replace_node(operation, older[operation.get_type_name()](operation))
    for operation in graph.get_ops():
        if opset(operation) > NEWEST_OPSET:
            raise ValueError(
                f"{onnx}: {operation.get_type_name()} is of opset {opset(operation)}, "
                f"limit {NEWEST_OPSET}"
            )
    return graph


def opset(operation: ov.Node) -> int:
    """The number of an operation's opset."""
    return int(operation.get_type_info().version_id.removeprefix("opset"))


def older_pool(pool: ov.Node) -> ov.Node:
    """An average pool as opset 1 has it: no dilation, and one way to round its size up.

    ValueError if it is dilated, or padded, where the ways differ.
    """
    settings = pool.get_attributes()
    padding = [*settings["pads_begin"], *settings["pads_end"]]
    if any(padding) or any(step != 1 for step in settings.get("dilations", [])):
        raise ValueError(f"{pool.get_friendly_name()}: average pool with padding or dilation")
    return opset1.avg_pool(
        pool.input_value(0),
        settings["strides"],
        settings["pads_begin"],
        settings["pads_end"],
        settings["kernel"],
        settings["exclude-pad"],
        settings["rounding_type"].removesuffix("_torch"),
        name=pool.get_friendly_name(),
    )


def older_scatter(scatter: ov.Node) -> ov.Node:
    """An update of places as opset 4 has it, which puts and does not add.

    ValueError if it does anything else.
    """
    reduction = scatter.get_attributes()["reduction"]
    if reduction != "none":
        raise ValueError(f"{scatter.get_friendly_name()}: update of places by {reduction}")
    return opset4.scatter_nd_update(
        *(scatter.input_value(i) for i in range(3)), name=scatter.get_friendly_name()
    )
