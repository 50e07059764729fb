"""The served steps' own functions, so that what is measured is what is served."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"


def _load(path: Path) -> Any:
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: no Python module")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fit = _load(REPOSITORY / "document_preprocess" / "1" / "fit.py")
heads = _load(REPOSITORY / "document_postprocess" / "1" / "heads.py")
