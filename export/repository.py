"""What export may write: a finished version directory, and parameters of a step's config.pbtxt."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from inprocess.repository import read_config


def write_config(path: Path, config: ModelConfig) -> None:
    """Writes a config.pbtxt, without comments, unless one that says the same is there."""
    if not path.exists() or config != read_config(path):
        path.write_text(text_format.MessageToString(config, use_short_repeated_primitives=True))


def set_parameters(path: Path, parameters: dict[str, str]) -> None:
    """Sets string parameters in a config.pbtxt and keeps everything else but comments."""
    config = read_config(path)
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    write_config(path, config)


def next_version(model: Path) -> int:
    """One more than the newest in a model's folder; 1 if there is none."""
    return 1 + max((int(path.name) for path in model.glob("[0-9]*")), default=0)


@contextmanager
def new_version(version_dir: Path) -> Iterator[Path]:
    """An empty folder that becomes `version_dir` when the block ends well.

    If the block raises, `version_dir` stays as it was. It is never seen half written: the work
    is done beside the repository, where no server looks.
    """
    repository = version_dir.parents[1]
    with tempfile.TemporaryDirectory(prefix=".export-", dir=repository.parent) as scratch:
        fresh = Path(scratch, "fresh")
        fresh.mkdir()
        yield fresh
        version_dir.parent.mkdir(parents=True, exist_ok=True)
        if version_dir.exists():
            shutil.move(version_dir, Path(scratch, "replaced"))
        shutil.move(fresh, version_dir)
