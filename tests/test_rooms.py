"""What each folder may import, and that docs/pictures/rooms.svg draws what they do import."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRITON = {"triton_python_backend_utils"}
# Serving and asking need little: all that these folders may import beside Python's own
ALL = {
    "model_repository": TRITON
    | {"numpy", "cv2", "PIL", "simplejpeg", "pyvips"}
    | {"header", "decode", "fit", "heads", "tally"},
    "backends": TRITON | {"numpy", "openvino", "onnxruntime"},
    "server": {"server", "obstore", "cryptography"},
    "inprocess": {"inprocess", "numpy", "google", "tritonclient"},  # google.protobuf
    # tritonclient runs on grpc, google.protobuf and aiohttp, and lets their errors through
    "client": {"countersign", "tritonclient", "grpc", "google", "aiohttp", "numpy"}
    | {"PIL", "pypdfium2"}
    | {"opentelemetry"},  # where the program that uses it has it
    "gateway": {"gateway", "countersign", "numpy", "cv2", "pydantic", "yaml", "orjson"}
    | {"fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client"}
    | {"anyio", "sqlalchemy", "alembic", "opentelemetry"},
    "archive": {"archive", "inprocess", "countersign", "gateway", "ray", "pyarrow", "numpy"}
    | {"google"},
}
# The flow runs one way: what these import of the other folders
ROOMS = {
    "training": {"inprocess"},
    "export": {"training", "inprocess", "server"},
    "benchmarks": {"training", "export", "inprocess", "client", "server", "gateway", "archive"},
    "examples": {"client", "server"},
}


def imported(folder: str) -> dict[str, set[str]]:
    """Name of each package that a folder's files import -> the files."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(str(path.relative_to(ROOT)))
    return found


def rooms_of(folder: str) -> set[str]:
    """The other folders that a folder imports; the client's package is named countersign."""
    names = {name.replace("countersign", "client") for name in imported(folder)}
    return names & (ALL.keys() | ROOMS.keys()) - {folder}


@pytest.mark.parametrize("folder", ALL)
def test_a_room_imports_what_it_may_and_no_more(folder):
    files = imported(folder)
    assert files
    surplus = files.keys() - set(sys.stdlib_module_names) - ALL[folder]
    assert not surplus, {name: files[name] for name in surplus}


@pytest.mark.parametrize("folder", ROOMS)
def test_the_flow_runs_one_way(folder):
    assert rooms_of(folder) <= ROOMS[folder], imported(folder)


def test_the_drawing_shows_each_room_and_each_import():
    drawing = ElementTree.parse(ROOT / "docs" / "pictures" / "rooms.svg").getroot()
    rooms = {each.get("data-room") for each in drawing.iter() if each.get("data-room")}
    assert rooms == ALL.keys() | ROOMS.keys()
    drawn = {
        (each.get("data-from"), each.get("data-to"))
        for each in drawing.iter()
        if each.get("class") == "import"
    }
    assert drawn == {(room, other) for room in rooms for other in rooms_of(str(room))}
