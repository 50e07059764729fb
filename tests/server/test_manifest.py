"""What a published repository may be."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from server import manifest
from server.manifest import Refused

EMPTY = hashlib.sha256(b"").hexdigest()
FILE = {"sha256": EMPTY, "bytes": 0}
MODEL = {"a/config.pbtxt": FILE}


def text(files: object = None, folders: object = (), **others: object) -> bytes:
    found = {"format": 1, "files": MODEL if files is None else files, "folders": folders}
    return json.dumps(found | others).encode()


@pytest.mark.parametrize(
    "path",
    ["../b", "/etc/b", "a/../../b", "a/./b", "a//b", "a/b/", "", "a\\b", "a/\n", "a/\0", "a/\ud800",
     "a/\u202eb"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_path_that_is_not_plain_is_refused(path, where):
    files = MODEL | ({path: FILE} if where == "file" else {})
    with pytest.raises(Refused, match=r"manifest: path .*, expected a plain one"):
        manifest.read(text(files, [path] if where == "folder" else []))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "none that is known"),
        (b"[" * 100_000, "none that is known"),
        (b"[1]", "none that is known"),
        (text([]), "none that is known"),
        (text({"a/config.pbtxt": {"sha256": EMPTY}}), "none that is known"),
        (text(format=2), "format 2, expected 1"),
        (text({}), "no model in it, MODEL/config.pbtxt"),
        (text({"config.pbtxt": FILE, "a/1/config.pbtxt": FILE}), "no model in it"),
        (text(MODEL | {"a/b": FILE, "a/b/c": FILE}), "'a/b' is a folder and a file"),
        (text(MODEL | {"a/b": FILE}, ["a/b"]), "'a/b' is a folder and a file"),
        (text(MODEL | {"a/b": FILE}, ["a/b/c"]), "'a/b' is a folder and a file"),
        (text({"a/config.pbtxt": FILE | {"sha256": EMPTY.upper()}}), "is no SHA-256"),
        (text({"a/config.pbtxt": FILE | {"sha256": "../" + EMPTY}}), "is no SHA-256"),
        (text({"a/config.pbtxt": FILE | {"bytes": -1}}), "'a/config.pbtxt': -1 bytes"),
        (text({"a/config.pbtxt": FILE | {"bytes": True}}), "'a/config.pbtxt': True bytes"),
        (text({"a/config.pbtxt": FILE | {"bytes": 2**33 + 1}}), "limit 8589934592"),
        (text(MODEL | {f"a/{n}": FILE for n in range(4096)}), "4097 files, limit 4096"),
        (text(MODEL | {"a/" + "b" * 256: FILE}), "258 bytes, limit 512, and 255 between slashes"),
        (text(MODEL | {"a/" + "b/" * 256: FILE}), "expected a plain one"),
        (text(MODEL | {"a/b" * 200: FILE}), "600 bytes, limit 512"),
        (text() + b" " * 2**20, "limit 1048576"),
    ],
)  # fmt: skip
def test_a_manifest_that_may_not_be_is_refused(told, why):
    with pytest.raises(Refused, match=f"manifest: .*{re.escape(why)}"):
        manifest.read(told)


def test_a_manifest_has_what_a_server_copies(tmp_path):
    """No hidden files, no compiled ones, no folders that are no models; links as what they name."""
    for path in (
        "a/1/x.bin",
        "a/1/__pycache__/x.pyc",
        "a/.export/x",
        "no_model/x",
        ".git/x",
        "top",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "a" / "config.pbtxt").write_text("")
    (tmp_path / "a" / "1" / "linked").symlink_to("../../no_model/x")
    (tmp_path / "a" / "1" / ".gitkeep").touch()
    (tmp_path / "a" / "2").mkdir()
    made = manifest.made(tmp_path)
    assert {path: file.sha256 for path, file in made.files.items()} == {
        "a/config.pbtxt": EMPTY,
        "a/1/.gitkeep": EMPTY,
        "a/1/linked": hashlib.sha256(b"no_model/x").hexdigest(),
        "a/1/x.bin": hashlib.sha256(b"a/1/x.bin").hexdigest(),
    }
    assert made.folders == ("a/2",)
    assert manifest.read(made.text) == made
    assert made.digest == hashlib.sha256(made.text).hexdigest()


def test_the_same_models_have_the_same_manifest_wherever_they_lie(tmp_path):
    repository = Path(__file__).resolve().parents[2] / "model_repository"
    other = tmp_path / "other"
    other.symlink_to(repository)
    assert manifest.made(repository).text == manifest.made(other).text
