"""The server's temporary folder and shared memory: its user's alone, and gone with the server."""

import errno
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from server import vitals
from server.settings import ServerError

PREFIX = "countersign-"  # how the name of a server's folder begins
SHM = Path("/dev/shm")
ORPHANS_EXIT_S = 5


def check_shm(least_mib: int) -> None:
    """Raises ServerError if shared memory, where tensors travel, has less free."""
    free = shutil.disk_usage(SHM).free
    if free < least_mib * 2**20:
        raise ServerError(
            f"{SHM} has {free // 2**20} MiB free, at least {least_mib} MiB are needed; in a "
            "container: --shm-size=1g; or --max-image-bytes 1500000"
        )


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder that is its user's alone; then it is gone, with the shared memory of its
    name. What dead servers left is removed first. ServerError if there can be none."""
    try:
        remove_abandoned(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = open(folder / "lock.new", "w")  # noqa: SIM115
    except OSError as error:
        raise ServerError(no_folder(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "lock.new").rename(folder / "lock")
        try:
            yield folder
        finally:
            remove(folder)


@contextmanager
def subfolder(folder: Path) -> Iterator[Path]:
    """`folder`, which is made; then it is gone, with the shared memory of its name."""
    try:
        folder.mkdir()
    except OSError as error:
        raise ServerError(no_folder(error)) from error
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Removes a folder, and the shared memory of its name and of names that go on with _."""
    for left in SHM.glob(f"{folder.name}_*"):
        left.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(temporary: Path) -> None:
    """Removes what servers of this user left that were killed: their locks are free.

    Processes that outlived them, as stopped ones do, are ended.
    """
    for path in temporary.glob(f"{PREFIX}*/lock"):
        with suppress(OSError), open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.parent.stat().st_uid == os.getuid():
                end_orphans(path.parent)
                remove(path.parent)


def end_orphans(folder: Path) -> None:
    """Kills what still works in a dead server's folder, and waits until it is gone."""
    deadline = time.monotonic() + ORPHANS_EXIT_S
    while (orphans := vitals.working_in(folder.resolve())) and time.monotonic() < deadline:
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def is_full(error: OSError) -> bool:
    """Whether the disk was full, or the user's share of it."""
    if isinstance(error, shutil.Error):  # of copytree: source, copy and reason of each file
        return f"[Errno {errno.ENOSPC}]" in error.args[0][0][2]
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reason(error: OSError) -> str:
    """Why something could not be written or copied."""
    if isinstance(error, shutil.Error):
        return error.args[0][0][2]
    return os.strerror(error.errno) if is_full(error) and error.errno else str(error)


def no_folder(error: OSError) -> str:
    """Why nothing could be written into a temporary folder, and what to do."""
    return f"temporary folder: {reason(error)}; TMPDIR names another"
