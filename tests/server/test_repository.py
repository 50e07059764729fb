"""What the model repository holds, and the copy that tritonserver gets."""

import shutil

import pytest

from server import held
from server.repository import ensembles, lay_out, newest, older, versions, with_processes
from server.settings import ROOT, ModelError, ServerError

REPOSITORY = ROOT / "model_repository"


def test_ensembles_are_told_from_steps_and_by_what_they_give():
    assert ensembles(REPOSITORY) == {"captcha_reader": "reader", "document_detector": "detector"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("instance_group [ { count: 2 kind: KIND_CPU } ]", "count: 5"),
        ("instance_group {\n  count: 8\n  kind: KIND_CPU\n}", "count: 8"),
    ],
)
def test_a_step_gets_more_processes_never_fewer(config, expected):
    assert expected in with_processes(config, 5)


def test_the_copy_has_one_version_of_each_model_and_stays_as_it_was(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "a b"
    shutil.copytree(REPOSITORY, source)
    lay_out(source, copy, {"document_yolo": 8, "captcha_heads": 3}, preprocesses=7)
    assert [path.name for path in copy.glob("document_yolo/[0-9]*")] == ["8"]
    assert [path.name for path in copy.glob("captcha_heads/[0-9]*")] == ["3"]
    assert "count: 7" in (copy / "document_preprocess" / "config.pbtxt").read_text()
    weights = (copy / "document_yolo" / "8" / "model.bin").read_bytes()
    (source / "document_yolo" / "8" / "model.bin").write_bytes(b"overwritten")
    assert (copy / "document_yolo" / "8" / "model.bin").read_bytes() == weights
    assert weights == (REPOSITORY / "document_yolo" / "8" / "model.bin").read_bytes()


def test_a_model_whose_config_says_which_versions_is_copied_as_it_is(tmp_path):
    shutil.copytree(REPOSITORY / "captcha_heads", tmp_path / "source" / "captcha_heads")
    config = tmp_path / "source" / "captcha_heads" / "config.pbtxt"
    config.write_text(config.read_text() + "version_policy { specific { versions: [2] } }\n")
    assert newest(tmp_path / "source", {}) == {}
    lay_out(tmp_path / "source", tmp_path / "copy", {}, preprocesses=2)
    assert (tmp_path / "copy" / "captcha_heads" / "2" / "model.xml").exists()
    assert (tmp_path / "copy" / "captcha_heads" / "3" / "model.xml").exists()


def test_a_model_that_cannot_be_read_is_named(tmp_path):
    shutil.copytree(REPOSITORY / "captcha_heads", tmp_path / "source" / "captcha_heads")
    weights = tmp_path / "source" / "captcha_heads" / "3" / "model.bin"
    weights.unlink()
    weights.symlink_to("nowhere")
    with pytest.raises(ModelError, match=r"captcha_heads: cannot be read: .*No such file") as told:
        lay_out(tmp_path / "source", tmp_path / "copy", {"captcha_heads": 3}, preprocesses=2)
    assert told.value.blamed == ("captcha_heads",)


def test_versions_are_numbers_newest_first(tmp_path):
    for name in ("9", "10", "0", "07", "latest", ".11"):
        (tmp_path / "a" / name).mkdir(parents=True)
    (tmp_path / "a" / "12").write_text("a file")
    (tmp_path / "a" / "config.pbtxt").write_text("")
    assert versions(tmp_path, "a") == [10, 9]


def test_versions_that_are_held_are_passed_over():
    assert newest(REPOSITORY, {"captcha_heads": {3: "taken back"}})["captcha_heads"] == 2
    served = {"captcha_heads": 3}
    assert older(REPOSITORY, served, ["captcha_heads"], {"captcha_heads": {2: "no"}}) == {}
    with pytest.raises(ServerError, match=r"captcha_heads: all of its versions are held: .*why"):
        newest(REPOSITORY, {"captcha_heads": {2: "why", 3: "why"}})


def test_what_is_held_comes_back_as_it_was_written(tmp_path):
    file = tmp_path / "held.json"
    assert held.read(file) == {}
    held.write(file, held.with_one(held.with_one({}, "a", 7, "on trial"), "a", 8, "to come"))
    assert held.read(file) == {"a": {7: "on trial", 8: "to come"}}
    held.write(file, held.without(held.read(file), "a", 7))
    assert held.read(file) == {"a": {8: "to come"}}


@pytest.mark.parametrize("text", ["", "[]", '{"a": 3}', '{"a": {"new": "why"}}'])
def test_what_is_no_list_of_held_versions_is_told_with_its_form(tmp_path, text):
    file = tmp_path / "held.json"
    file.write_text(text)
    with pytest.raises(ServerError, match=r"held\.json: .*; expected {model: {version: why}}"):
        held.read(file)


def test_where_it_cannot_be_told_what_is_held_the_remedy_is_named(tmp_path):
    with pytest.raises(ServerError, match=r"held\.json cannot .*; --held names another"):
        held.write(tmp_path / "none" / "held.json", {})


@pytest.mark.parametrize(
    ("served", "blamed", "expected"),
    [
        ({"captcha_heads": 3}, ["captcha_heads"], {"captcha_heads": 2}),
        ({"captcha_heads": 3, "captcha_postprocess": 1}, ["captcha_reader"], {"captcha_heads": 2}),
        ({"captcha_heads": 2}, ["captcha_heads"], {}),
        ({"captcha_heads": 3}, ["document_detector"], {}),
    ],
    ids=["a model", "an ensemble", "the oldest", "another"],
)
def test_the_blamed_go_back_to_the_version_before(served, blamed, expected):
    assert older(REPOSITORY, served, blamed, {}) == expected
