"""What a model repository says: config.pbtxt files and version directories."""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"  # the shipped one


def read_config(path: Path) -> ModelConfig:
    """The config.pbtxt as Triton's own message. ValueError with the line if it does not parse."""
    try:
        return text_format.Parse(path.read_text(), ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: {error}") from error


def parameters(model: Path) -> dict[str, str]:
    """The `parameters` in the config.pbtxt of a model's folder."""
    config = read_config(model / "config.pbtxt")
    return {name: value.string_value for name, value in config.parameters.items()}


def newest_version(model: Path) -> int:
    """The version that Triton serves of a model's folder. ValueError if there is none."""
    versions = [int(path.name) for path in model.glob("[0-9]*") if path.name.isdigit()]
    if not versions:
        raise ValueError(f"{model}: no version directory")
    return max(versions)
