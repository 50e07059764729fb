import pytest

from export.repository import new_version, read_config, set_parameters

CONFIG = """backend: "python"
parameters { key: "iou" value { string_value: "0.5" } }
output [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
"""


def test_a_parameter_is_set_and_everything_else_kept(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_text(CONFIG)
    before = read_config(path)
    set_parameters(path, {"min_confidence": "0.75"})
    after = read_config(path)
    assert after.parameters["min_confidence"].string_value == "0.75"
    del after.parameters["min_confidence"]
    assert after == before


def test_a_parameter_that_is_there_is_replaced(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_text(CONFIG)
    set_parameters(path, {"iou": "0.45"})
    assert read_config(path).parameters["iou"].string_value == "0.45"


def test_a_file_with_nothing_to_change_is_not_rewritten(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_text("# a comment\n" + CONFIG)
    set_parameters(path, {"iou": "0.5"})
    assert path.read_text() == "# a comment\n" + CONFIG


def test_a_config_that_does_not_parse_is_refused_by_name(tmp_path):
    path = tmp_path / "config.pbtxt"
    path.write_text("backend python")
    with pytest.raises(ValueError, match=r"config\.pbtxt: 1:9"):
        read_config(path)


def test_a_new_version_replaces_the_old_one_whole(tmp_path):
    version = tmp_path / "model" / "1"
    version.mkdir(parents=True)
    (version / "old").touch()
    with new_version(version) as fresh:
        (fresh / "new").touch()
        assert (version / "old").exists()
    assert [p.name for p in version.iterdir()] == ["new"]
    assert [p.name for p in version.parent.iterdir()] == ["1"]


def test_a_failure_leaves_the_version_as_it_was(tmp_path):
    version = tmp_path / "model" / "1"
    version.mkdir(parents=True)
    (version / "old").touch()

    def fail():
        with new_version(version) as fresh:
            (fresh / "new").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in version.iterdir()] == ["old"]
    assert [p.name for p in version.parent.iterdir()] == ["1"]
