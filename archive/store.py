"""Where the rows go: `pages/` and `files/`, Parquet parts that are there whole or not at all.

A part of pages is written before the part of their files. What is done is what `files/` has; a
digest that `pages/` has is not written again. So a run that ended anywhere between, or a copy of a
file under another name, leaves each page of a content there once.
"""

import json
import os
import posixpath
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileType, LocalFileSystem

from archive.rows import FILES, first_of, pages_of
from archive.sources import LISTED, SourceError, located

SETTINGS = "settings.json"
KEYS = LISTED.names


class Store:
    """An archive's rows in a folder or in object storage. For one run at a time."""

    def __init__(self, url: str) -> None:
        """Raises SourceError if it cannot be reached."""
        self.url = url
        self._system, self._root = located(url)
        try:
            self._written = {bytes.fromhex(each) for each in self._column("pages", "sha256")}
        except OSError as error:
            raise SourceError(f"{url}: {error}") from error

    def settle(self, settings: Mapping[str, object]) -> None:
        """Raises SourceError if what is there was made with other settings than these."""
        if SETTINGS in self._names(""):
            with self._system.open_input_stream(self._path(SETTINGS)) as file:
                before = json.loads(file.read())
            other = [name for name in settings if before.get(name) != settings[name]]
            if other:
                name = other[0]
                raise SourceError(
                    f"{self.url}: made with {name} {before.get(name)!r}, now {settings[name]!r}; "
                    "choose another place for the rows"
                )
        else:
            self.put(SETTINGS, json.dumps(settings, indent=1).encode())

    def missing(self, listed: pa.Table) -> pa.Table:
        """Those of the listed files that are not done, or have changed since."""
        done = self.table("files", KEYS)
        return listed.join(done, KEYS, join_type="left anti").sort_by("key") if done else listed

    def write(self, answers: pa.Table) -> None:
        """Adds files with their pages, those of a content that is there already apart."""
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}.parquet"
        new = answers.filter(pa.array(first_of(answers["sha256"], self._written)))
        if len(new):
            self._put_table(f"pages/{name}", pages_of(new))
        self._put_table(f"files/{name}", answers.select(FILES.names).cast(FILES))

    def table(self, kind: str, columns: Sequence[str]) -> pa.Table | None:
        """Columns of all that is there of `pages` or `files`; None if there is nothing."""
        found = self.dataset(kind)
        return None if found is None else found.to_table(list(columns))

    def dataset(self, kind: str) -> ds.Dataset | None:
        """All that is there of `pages` or `files`, None if there is nothing."""
        paths = [self._path(f"{kind}/{name}") for name in self._names(kind) if name[0] not in "._"]
        return ds.dataset(paths, filesystem=self._system, format="parquet") if paths else None

    def put(self, name: str, content: bytes | pa.Buffer) -> None:
        """Writes a file that nobody sees before it is whole."""
        path = self._path(name)
        if not isinstance(self._system, LocalFileSystem):
            with self._system.open_output_stream(path) as file:  # appears when it is closed
                file.write(content)
            return
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f".{Path(path).name}.half"
        with open(half, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)

    def _put_table(self, name: str, table: pa.Table) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        self.put(name, buffer.getvalue())

    def _column(self, kind: str, column: str) -> Iterator[str]:
        found = self.dataset(kind)
        for batch in found.to_batches(columns=[column]) if found else ():
            yield from batch.column(0).to_pylist()

    def _names(self, folder: str) -> list[str]:
        selector = FileSelector(self._path(folder), allow_not_found=True)
        infos = self._system.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == FileType.File)

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root
