import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
A_TEST_FILE = """
import pytest
from tests.conftest import PROGRAMS

PROGRAMS |= {"sh": "dash", "no-such-program": "its-package"}


@pytest.mark.needs("no-such-program")
@pytest.mark.parametrize("number", range(3))
def test_of_a_program_that_is_missing(number):
    pass


@pytest.mark.needs("sh")
def test_of_a_program_that_is_there():
    pass
"""


def test_the_end_says_how_many_tests_lacked_which_programs(tmp_path):
    (tmp_path / "test_them.py").write_text(A_TEST_FILE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-q", tmp_path]
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT]
    done = subprocess.run([*command, *settings], cwd=ROOT, capture_output=True, text=True)
    assert "1 passed, 3 skipped" in done.stdout
    assert "3 tests were skipped for want of programs" in done.stdout
    assert "apt-get install its-package\n" in done.stdout
