"""What may be wrong with a model repository, each told in a line with the model and the reason.

Few starts find all of it, as Triton goes on when a model fails. Damages of graphs are in
tests/backends, answers that are wrong in test_repair.py and test_triton.py.
"""

import io
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from server import Server, Settings, Triton
from server.settings import ROOT, ModelError

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
STEP, GRAPH, READER = "captcha_postprocess", "captcha_heads", "captcha_reader"
SEVENTH = "version_policy { specific { versions: [7] } }"
Damage = Callable[[Path], object]  # does it to a version's folder, or to a config.pbtxt


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def loading(code: str) -> Damage:
    """A step that runs `code` when it is loaded."""

    def damage(folder: Path) -> None:
        path = folder / "model.py"
        path.write_text(path.read_text().replace("import json\n", f"import json\n{code}\n"))

    return damage


def of_another_model(folder: Path) -> None:
    for path in (ROOT / "model_repository" / "document_yolo" / "7").glob("model.*"):
        shutil.copy(path, folder)


def a_folder(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def replaced(old: str, new: str) -> Damage:
    def damage(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return damage


def without_steps(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[: text.index("ensemble_scheduling")] + "ensemble_scheduling { step [] }")


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


VERSIONS: dict[str, tuple[str, Damage, str]] = {  # what is done to a model's newest version
    "step_gone": (STEP, without("model.py"), r"version 2 has no model\.py"),
    "step_a_folder": (STEP, a_folder("model.py"), r"version 2 has no model\.py"),
    "step_empty": (STEP, holding("model.py", b""), "has no attribute 'TritonPythonModel'"),
    "step_cut": (STEP, cut("model.py"), r"SyntaxError: .* \(model.py, line \d+\)"),
    "step_binary": (STEP, holding("model.py", bytes(256)), "SyntaxError: .* null bytes"),
    "step_lacks": (STEP, loading("import no_such_module"), "No module named 'no_such_module'"),
    "step_raises": (STEP, loading("raise ValueError('no luck')"), "ValueError: no luck"),
    "step_exits": (STEP, loading("import os; os._exit(3)"), "Stub process .* is not healthy"),
    "step_crashes": (STEP, loading("import os; os.kill(os.getpid(), 11)"), "is not healthy"),
    "graph_gone": (GRAPH, without("model.xml"), r"unable to find '.*/2/model\.xml'"),
    "graph_of_another": (GRAPH, of_another_model, r"graph has shape \[1,704,512,3\], config"),
    "weights_cut": (GRAPH, cut("model.bin"), "Incorrect weights in bin file"),
    "version_empty": (GRAPH, emptied, r"unable to find '.*/2/model\.xml'"),
}
CONFIGS: dict[str, tuple[str, Damage, str]] = {  # what is done to a model's config.pbtxt
    "empty": (STEP, lambda path: path.write_text(""), r"inputs \[\], expected logits"),
    "cut": (STEP, lambda path: path.write_text(path.read_text()[:-9]), r"text proto .*: \d+:\d+: "),
    "binary": (STEP, lambda path: path.write_bytes(bytes(256)), r"text proto .*: 1:1: Invalid"),
    "misspelt": (STEP, replaced("input {", "imput {"), 'no field named "imput"'),
    "renamed": (STEP, replaced("backend", 'name: "b"\nbackend'), "directory name must equal model"),
    "no_backend": (STEP, replaced('"python"', '"cobol"'), "backend library for backend 'cobol'"),
    "no_type": (STEP, replaced("TYPE_BOOL", "TYPE_TRUTH"), 'text proto .*: .*"TYPE_TRUTH"'),
    "no_parameter": (STEP, replaced("min_confidence", "most"), "parameter min_confidence: ''"),
    "shape": (GRAPH, replaced("50, 200", "50, 300"), r"config\.pbtxt dims \[1, 50, 300\]"),
    "tensor": (GRAPH, replaced('"logits"', '"digits"'), "tensor name digits was not found"),
    "no_version": (
        STEP,
        lambda path: shutil.rmtree(path.parent / "1"),
        "one version must be avail",
    ),
    "version_word": (
        STEP,
        lambda path: (path.parent / "1").rename(path.parent / "one"),
        "one vers",
    ),
    "other_version": (
        STEP,
        replaced("backend", f"{SEVENTH}\nbackend"),
        "one version must be avail",
    ),
}
ENSEMBLES: dict[str, tuple[str, Damage, str]] = {
    "no_output": (READER, replaced('key: "pixels"', 'key: "sounds"'), "non-existing output sounds"),
    "no_steps": (READER, without_steps, "must specify 'step' for ensemble"),
    "circle": (READER, replaced('"captcha_heads"', '"circle"'), "circular dependency"),
}


def damaged(source: Path, folder: Path, table: dict, versions: bool = False) -> Path:
    """A repository of the CAPTCHA models, and of a copy of one for each damage of the table."""
    repository = shutil.copytree(source, folder / "repository")
    for name, (model, damage, _) in table.items():
        copy = shutil.copytree(source / model, repository / name)
        if versions:  # 1 and 2, whatever they are
            for number, path in enumerate(sorted(copy.glob("[0-9]*")), 1):
                path.rename(copy / str(number))
            if not (copy / "2").exists():
                shutil.copytree(copy / "1", copy / "2")
        damage(copy / "2" if versions else copy / "config.pbtxt")
    return repository


def reason(text: str, name: str) -> str:
    """What is said of a model."""
    (found,) = re.findall(rf"(?:^|W |; |: ){name}: (.*?)(?:; |$)", text, re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def served(captcha_repository, tmp_path_factory) -> Iterator[tuple[Server, str]]:
    """A server whose newest versions are damaged, and what it said at its start."""
    folder = tmp_path_factory.mktemp("versions")
    repository = damaged(captcha_repository, folder, VERSIONS, versions=True)
    said = io.StringIO()
    with redirect_stderr(said), Server(Settings(repository=repository, **ANY_PORTS)) as server:
        yield server, said.getvalue()


@pytest.mark.parametrize("name", VERSIONS)
def test_a_damaged_version_is_told_and_the_one_before_is_served(served, name):
    server, said = served
    assert re.search(VERSIONS[name][2], reason(said, name))
    assert re.search(rf"^W .*{name}: .*; served instead: .*\b{name} 1\b", said, re.MULTILINE)
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{name}/ready") as answer:
        assert answer.status == 200


def refusal(repository: Path) -> str:
    """Why tritonserver does not start."""
    with pytest.raises(ModelError) as refused:
        Triton(Settings(repository=repository, **ANY_PORTS)).start()
    return str(refused.value)


@pytest.fixture(scope="module")
def refused(captcha_repository, tmp_path_factory) -> str:
    return refusal(damaged(captcha_repository, tmp_path_factory.mktemp("configs"), CONFIGS))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_damaged_config_is_told(refused, name):
    assert re.search(CONFIGS[name][2], reason(refused, name))


def test_damaged_ensembles_are_told(captcha_repository, tmp_path):
    told = refusal(damaged(captcha_repository, tmp_path, ENSEMBLES))
    for name, (_, _, expected) in ENSEMBLES.items():
        assert re.search(expected, reason(told, name)), name


def test_models_that_load_for_ever_are_told(captcha_repository, tmp_path):
    repository = shutil.copytree(captcha_repository, tmp_path / "repository")
    loading("import time; time.sleep(60)")(repository / STEP / "1")
    triton = Triton(Settings(repository=repository, ready_timeout_s=3, **ANY_PORTS))
    with pytest.raises(
        ModelError, match=r"not ready after 3 s: .*captcha_postprocess.* still load"
    ):
        triton.start()
