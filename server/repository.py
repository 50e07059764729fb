"""The model repository: what it holds, and the copy that tritonserver is given."""

import re
import shutil
from collections.abc import Container, Iterable
from pathlib import Path

from server.folder import is_full, no_folder, reason
from server.held import Held
from server.settings import ModelError, ServerError

DETECTOR, READER, OTHER = "detector", "reader", "other"  # kinds of ensembles, by their outputs
PREPROCESS = "document_preprocess"


def models(repository: Path) -> dict[str, str]:
    """Each model's name and the text of its config.pbtxt, by name. Raises ServerError for none."""
    if not repository.is_dir():
        raise ServerError(f"model repository {repository}: no such folder")
    configs = sorted(repository.glob("[!.]*/config.pbtxt"))
    if not configs:
        raise ServerError(f"model repository {repository}: no folder in it has a config.pbtxt")
    return {path.parent.name: path.read_text(errors="replace") for path in configs}


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


def steps(repository: Path, ensemble: str) -> tuple[str, ...]:
    """The models that an ensemble has, in its order."""
    config = (repository / ensemble / "config.pbtxt").read_text(errors="replace")
    return tuple(re.findall(r'\bmodel_name\s*:\s*"([^"]+)"', config))


def versions(repository: Path, model: str) -> list[int]:
    """A model's versions, newest first; [] where its config.pbtxt says which are served."""
    if "version_policy" in (repository / model / "config.pbtxt").read_text(errors="replace"):
        return []
    names = [path.name for path in (repository / model).glob("[1-9]*") if path.is_dir()]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def newest(repository: Path, held: Held) -> dict[str, int]:
    """The newest version of each model that has any and is not held.

    Raises ServerError for a model all of whose versions are.
    """
    found = {model: versions(repository, model) for model in models(repository)}
    free = {model: unheld(numbers, held.get(model, {})) for model, numbers in found.items()}
    for model in (model for model, numbers in found.items() if numbers and not free[model]):
        raise ServerError(f"{model}: all of its versions are held: {dict(held[model])}")
    return {model: numbers[0] for model, numbers in free.items() if numbers}


def unheld(numbers: Iterable[int], held: Container[int]) -> list[int]:
    return [number for number in numbers if number not in held]


def older(
    repository: Path, served: dict[str, int], blamed: Iterable[str], held: Held
) -> dict[str, int]:
    """The next version below that of `served` that is not held, of each blamed model, or of a
    blamed ensemble's steps, that has one."""
    known = ensembles(repository)
    names = [
        step for name in blamed for step in (steps(repository, name) if name in known else [name])
    ]
    below = {
        name: [
            number
            for number in unheld(versions(repository, name), held.get(name, {}))
            if number < served[name]
        ]
        for name in names
        if name in served
    }
    return {name: numbers[0] for name, numbers in below.items() if numbers}


def lay_out(repository: Path, folder: Path, served: dict[str, int], preprocesses: int) -> None:
    """Copies the repository's models into `folder`: of each that `served` names that version alone.

    What tritonserver has loaded thus stays as it was. document_preprocess gets as many processes
    as `preprocesses`, if its config.pbtxt has fewer. Raises ServerError, ModelError among them.
    """
    for name, config in models(repository).items():
        if name == PREPROCESS:
            config = with_processes(config, preprocesses)
        check_code(repository / name, config, served.get(name))
        try:
            copy_model(repository / name, folder / name, served.get(name))
            (folder / name / "config.pbtxt").write_text(config)
        except OSError as error:
            if is_full(error):
                raise ServerError(no_folder(error)) from error
            raise ModelError(f"{name}: cannot be read: {reason(error)}", [name]) from error


def finalizes(repository: Path) -> bool:
    """Whether a step has something to do at its end."""
    code = (path for path in repository.glob("*/*/*.py") if path.is_file())
    return any("def finalize(" in path.read_text(errors="replace") for path in code)


def check_code(model: Path, config: str, version: int | None) -> None:
    """Raises ModelError for a step without its code, for which Triton 24.10 would wait for ever."""
    if version is None or not re.search(r'\bbackend\s*:\s*"python"', config):
        return
    named = re.search(r'\bdefault_model_filename\s*:\s*"([^"]+)"', config)
    code = model / str(version) / (named[1] if named else "model.py")
    if not code.is_file():
        raise ModelError(f"{model.name}: version {version} has no {code.name}", [model.name])


def copy_model(model: Path, copy: Path, version: int | None) -> None:
    """Copies all of a model but config.pbtxt and, unless that is None, its other versions."""
    copy.mkdir(parents=True)
    for path in model.resolve().glob("[!.]*"):
        is_version = path.is_dir() and path.name.isdigit() and version is not None
        if path.name == "config.pbtxt" or (is_version and int(path.name) != version):
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name)
        else:
            shutil.copy2(path, copy)


def with_processes(config: str, least: int) -> str:
    """`config`, its instance group of `least` processes at least."""
    return re.sub(
        r"\bcount\s*:\s*(\d+)", lambda found: f"count: {max(int(found[1]), least)}", config
    )
