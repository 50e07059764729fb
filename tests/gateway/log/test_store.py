import os
import random
import resource
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.log import Store
from gateway.log import store as store_module

CONTENT = b"%PDF a page"
DIGEST = sha256(CONTENT).hexdigest()
PACKAGE = Path(store_module.__file__).parent


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def files(store):
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def test_a_file_is_found_by_its_digest_alone(store):
    assert store.get(DIGEST) is None
    assert not store.has(DIGEST)
    assert store.put(CONTENT)
    assert store.get(DIGEST) == CONTENT
    assert files(store) == [store.folder / DIGEST[:2] / DIGEST]


def test_the_same_file_is_kept_once_and_is_new_again(store):
    store.put(CONTENT)
    os.utime(store.path(DIGEST), (1, 1))
    assert not store.put(CONTENT)
    assert len(files(store)) == 1
    assert time.time() - store.path(DIGEST).stat().st_mtime < 60


def test_others_read_nothing(store):
    store.put(CONTENT)
    for path in (store.folder, store.path(DIGEST).parent, store.path(DIGEST)):
        assert path.stat().st_mode & 0o077 == 0


def test_a_damaged_file_is_not_given_out_and_can_be_stored_anew(store):
    store.put(CONTENT)
    store.path(DIGEST).write_bytes(CONTENT[:5])
    assert store.get(DIGEST) is None
    assert store.put(CONTENT)
    assert store.get(DIGEST) == CONTENT


def test_a_full_disk_leaves_no_trace(store):
    """The limit on a file's size stands for the disk's: a write ends in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            store.put(bytes(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(store) == []
    assert store.put(bytes(2**20))


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store import Store
content = bytes(2**27)
print(flush=True)
Store(Path(sys.argv[1])).put(content)
"""


def test_a_writer_that_is_killed_leaves_a_part_alone(store):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE, store.folder, PACKAGE], stdout=subprocess.PIPE
    )
    writer.stdout.readline()
    while not any(path.stat().st_size for path in files(store)):
        assert writer.poll() is None, "done before it was killed"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (part,) = files(store)
    assert part.suffix == ".part"
    assert 0 < part.stat().st_size < 2**27
    assert not store.has(sha256(bytes(2**27)).hexdigest())

    assert store.delete_before(0) == (0, 0)
    assert part.exists()  # somebody may be writing it
    os.utime(part, (1, 1))
    assert store.delete_before(0) == (0, 0)
    assert not part.exists()


def test_what_is_old_is_deleted_and_counted(store):
    contents = [random.Random(seed).randbytes(1000 + seed) for seed in range(4)]
    for age, content in enumerate(contents):
        store.put(content)
        os.utime(store.path(sha256(content).hexdigest()), (1000 - age, 1000 - age))
    assert store.delete_before(999) == (2, 1002 + 1003)
    assert [store.has(sha256(content).hexdigest()) for content in contents] == [
        True, True, False, False,
    ]  # fmt: skip


def test_a_folder_that_cannot_be_one_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"):
        Store(tmp_path / "file")
