"""What a graph must satisfy before it enters the model repository."""

import subprocess
from pathlib import Path

import openvino as ov
from tritonclient.grpc import model_config_pb2

from inprocess.repository import read_config

TYPES = {model_config_pb2.TYPE_UINT8: "u8", model_config_pb2.TYPE_FP32: "f32"}


def check_contract(model: ov.Model, config: Path) -> None:
    """ValueError unless the graph's names, types and shapes are those of the config.pbtxt."""
    check_ports(model, read_config(config), config)


def check_ports(model: ov.Model, expected: model_config_pb2.ModelConfig, config: Path) -> None:
    """`check_contract` with a config.pbtxt that is yet to be written."""
    for side, ports, fields in (
        ("input", model.inputs, expected.input),
        ("output", model.outputs, expected.output),
    ):
        found = {port.any_name: (port.element_type.to_string(), _dims(port)) for port in ports}
        wanted = {field.name: (TYPES[field.data_type], list(field.dims)) for field in fields}
        if found != wanted:
            raise ValueError(f"{side} of the graph: {found}, {config} has {wanted}")


def _dims(port: ov.Output) -> list[int]:
    """The port's shape; -1 where it is dynamic."""
    return [int(n.get_length()) if n.is_static else -1 for n in port.partial_shape]


def check_gap(form: str, gaps: dict[str, float], limits: dict[str, float]) -> None:
    """ValueError if a named gap is over its limit or NaN."""
    for name, limit in limits.items():
        if not gaps[name] <= limit:
            raise ValueError(
                f"{form}: {name} are {gaps[name]:.1e} off the checkpoint, limit {limit:.0e}"
            )


def commit() -> str:
    """The checked-out commit, or "unknown" where there is none."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else "unknown"
