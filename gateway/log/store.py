"""Files by their content: FOLDER/ab/abcd…, the name being the SHA-256 of the bytes.

A file is there whole or not at all: it is written beside its place, flushed to the disk, and then
renamed. Nothing says what it was called. Its time of change is when it was last asked about.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

PART = ".part"  # how names of files end that are being written
PART_S = 3600  # after which a part is left over from a process that is no more


class Store:
    """A folder that only this user can read; several processes may share it.

    OSError if it cannot be made or written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass

    def path(self, digest: str) -> Path:
        """Where the file with that SHA-256 is, or would be."""
        return self.folder / digest[:2] / digest

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def put(self, content: bytes) -> bool:
        """Whether the file is new here. OSError, and no trace of it, if it cannot be written."""
        path = self.path(sha256(content).hexdigest())
        with suppress(FileNotFoundError):
            os.utime(path)
            return False
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _flush(self.folder)
        handle, part = tempfile.mkstemp(suffix=PART, dir=path.parent)  # mode 0600
        try:
            with open(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part)
            raise
        _flush(path.parent)
        return True

    def get(self, digest: str) -> bytes | None:
        """The file's bytes, None if it is not stored.

        A file that a disk has damaged is taken out: asked about again, it is stored anew.
        """
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if sha256(content).hexdigest() != digest:
            path.unlink(missing_ok=True)
            return None
        return content

    def delete_before(self, moment: float) -> tuple[int, int]:
        """Delete what was last asked about before `moment` (seconds since 1970), and old parts.

        How many files, and how many bytes they had.
        """
        files = size = 0
        for path in self._files():
            with suppress(FileNotFoundError):  # another process deletes as well
                found = path.stat()
                if path.suffix == PART:
                    if found.st_mtime < time.time() - PART_S:
                        path.unlink()
                elif found.st_mtime < moment:
                    path.unlink()
                    files, size = files + 1, size + found.st_size
        return files, size

    def _files(self) -> Iterator[Path]:
        for folder in self.folder.iterdir():
            if len(folder.name) == 2 and folder.is_dir():
                yield from folder.iterdir()


def _flush(folder: Path) -> None:
    """So that the folder's new names outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
