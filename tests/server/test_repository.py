"""What the model repository holds, and the copy that tritonserver gets."""

import pytest

from server.repository import ensembles, lay_out, with_processes
from server.settings import ROOT

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


def test_the_copy_is_links_and_leaves_the_repository_as_it_is(tmp_path):
    before = (REPOSITORY / "document_preprocess" / "config.pbtxt").read_text()
    lay_out(REPOSITORY, tmp_path / "a b", preprocesses=7)
    step = tmp_path / "a b" / "document_preprocess"
    assert "count: 7" in (step / "config.pbtxt").read_text()
    assert (step / "1").resolve() == REPOSITORY / "document_preprocess" / "1"
    assert (REPOSITORY / "document_preprocess" / "config.pbtxt").read_text() == before
