"""What each folder may import: serving never needs what training does."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRITON = {"triton_python_backend_utils"}
ALLOWED = {
    "model_repository": TRITON | {"numpy", "cv2", "PIL", "decode", "fit", "heads"},
    "backends": TRITON | {"numpy", "openvino", "onnxruntime"},
    "server": {"server"},
    # aiohttp is what tritonclient.http.aio runs on and whose errors it lets through
    "client/countersign": {"countersign", "tritonclient", "aiohttp", "numpy", "PIL"},
}


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_room_imports_what_it_may_and_no_more(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        tree = ast.walk(ast.parse(path.read_text()))
        names = [
            name
            for node in tree
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        ]
        roots = {name.partition(".")[0] for name in names}
        assert roots - set(sys.stdlib_module_names) <= ALLOWED[folder], path
