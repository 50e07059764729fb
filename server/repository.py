"""The model repository: what it holds, and the copy that tritonserver is given."""

import re
from pathlib import Path

from server.settings import ServerError

DETECTOR, READER, OTHER = "detector", "reader", "other"  # kinds of ensembles, by their outputs
PREPROCESS = "document_preprocess"


def models(repository: Path) -> dict[str, str]:
    """Each model's name and the text of its config.pbtxt, by name. Raises ServerError for none."""
    if not repository.is_dir():
        raise ServerError(f"model repository {repository}: no such folder")
    configs = sorted(repository.glob("[!.]*/config.pbtxt"))
    if not configs:
        raise ServerError(f"model repository {repository}: no folder in it has a config.pbtxt")
    return {path.parent.name: path.read_text() for path in configs}


def ensembles(repository: Path) -> dict[str, str]:
    """Each ensemble's name and kind. Raises ServerError if there is no model."""
    return {
        name: kind(config)
        for name, config in models(repository).items()
        if re.search(r'^\s*platform\s*:\s*"ensemble"', config, re.MULTILINE)
    }


def kind(config: str) -> str:
    """What an ensemble with that config.pbtxt is."""
    if '"boxes"' in config and '"labels"' in config:
        return DETECTOR
    return READER if '"digit_confidence"' in config else OTHER


def lay_out(repository: Path, folder: Path, preprocesses: int) -> None:
    """Fills `folder` with links to the repository's models.

    document_preprocess gets as many processes as `preprocesses`, if its config.pbtxt has fewer.
    """
    for name, config in models(repository).items():
        (folder / name).mkdir(parents=True)
        for path in (repository / name).resolve().glob("[!.]*"):
            if path.name != "config.pbtxt":
                (folder / name / path.name).symlink_to(path)
        if name == PREPROCESS:
            config = with_processes(config, preprocesses)
        (folder / name / "config.pbtxt").write_text(config)


def with_processes(config: str, least: int) -> str:
    """`config`, its instance group of `least` processes at least."""
    return re.sub(
        r"\bcount\s*:\s*(\d+)", lambda found: f"count: {max(int(found[1]), least)}", config
    )
