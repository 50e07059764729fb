"""What the images install: locked by hashes, and in step with what everybody else installs."""

import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.lock"))
each = pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)


def pinned(file: Path) -> dict[str, set[str]]:
    """Versions by name, of a requirements file or a lock; a lock may have one for each Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w-]+)(?:\[\w+\])?==([\w.]+)", file.read_text(), re.M):
        versions.setdefault(name.lower(), set()).add(version)
    return versions


def entries(lock: Path) -> list[str]:
    """A lock's packages, each with its hashes."""
    return re.split(r"\n(?=\S)", lock.read_text().strip())


@each
def test_a_lock_has_every_version_that_is_pinned(lock):
    wanted = pinned(lock.with_suffix(".txt"))
    assert wanted
    assert wanted.items() <= pinned(lock).items()


@each
def test_each_package_of_a_lock_has_hashes_and_no_address(lock):
    assert "://" not in lock.read_text()
    assert not re.search(r"^-", lock.read_text(), re.M)  # no option either, such as an index
    for entry in entries(lock):
        assert re.search(r"\n    --hash=sha256:[0-9a-f]{64}", entry), entry
