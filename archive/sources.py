"""The files of an archive: in a folder, named by a list, on a disk or in object storage.

Object storage is read by pyarrow (s3://, gs://, abfs://), which takes its credentials from the
environment of each machine.
"""

import hashlib
import os
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow.fs import (
    AzureFileSystem,
    FileInfo,
    FileSelector,
    FileSystem,
    FileType,
    LocalFileSystem,
)

from countersign.files import PDF_SUFFIX, SUFFIXES

LISTED = pa.schema(
    [("key", pa.string()), ("bytes", pa.int64()), ("modified", pa.timestamp("us", "UTC"))]
)
# of Azure's storage, as server/storage.py has them; pyarrow takes none of them
ACCOUNT, KEY, ENDPOINT = (
    f"AZURE_{name}" for name in ("STORAGE_ACCOUNT_NAME", "STORAGE_ACCOUNT_KEY", "ENDPOINT")
)
STATED_AT_ONCE = 32  # files of a list that are asked about side by side
CHUNK = 2**20  # bytes read at a time


class SourceError(ValueError):
    """A source that cannot be listed; the text names it."""


@dataclass
class Listing:
    """What a source has."""

    base: str  # the folder, or URL of one, in which keys are paths
    files: pa.Table  # LISTED
    absent: dict[str, str] = field(default_factory=dict)  # named by a list: key -> why not
    skipped: int = 0  # files that are no pages by their names


def located(url: str) -> tuple[FileSystem, str]:
    """The file system of a path or URL, and the path in it. Raises SourceError."""
    scheme, netloc, path = _split(url)
    if not scheme:
        return LocalFileSystem(), os.path.abspath(url)
    try:
        system, root = _system(scheme, netloc, urlsplit(url).query)
    except (ValueError, OSError, NotImplementedError) as error:
        raise SourceError(f"{scheme}://{netloc}: {error}") from error
    return system, posixpath.join(root, path.lstrip("/")) if path.strip("/") else root


@lru_cache(maxsize=64)
def _system(scheme: str, netloc: str, query: str) -> tuple[FileSystem, str]:
    if scheme in ("abfs", "abfss") and "@" not in netloc and (account := os.environ.get(ACCOUNT)):
        return _azure(account, os.environ.get(ENDPOINT, "")), netloc
    root = "/" if scheme == "file" else ""
    system, path = FileSystem.from_uri(
        f"{scheme}://{netloc}{root}" + (f"?{query}" if query else "")
    )
    return system, path


def _azure(account: str, endpoint: str) -> FileSystem:
    """The account's storage, or what speaks its protocol at an endpoint, a URL."""
    at: dict[str, str] = {}
    if endpoint:
        where = urlsplit(endpoint)
        for kind in ("blob", "dfs"):
            at |= {
                f"{kind}_storage_authority": where.netloc,
                f"{kind}_storage_scheme": where.scheme,
            }
    return AzureFileSystem(account, account_key=os.environ.get(KEY), **at)


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, host or bucket, and path; no scheme of a local path. A key may have a ? or a #."""
    scheme, separator, rest = url.partition("://")
    if not separator or "/" in scheme:
        return "", "", url
    netloc, slash, path = rest.partition("/")
    return scheme, netloc.partition("?")[0], slash + path.partition("?")[0]


def place(base: str, key: str) -> tuple[FileSystem, str]:
    """Where the file `key` of an archive at `base` is. Raises SourceError."""
    if "://" in key:
        return located(key)
    system, folder = located(base)
    return system, posixpath.join(folder, key)


def listing(source: str) -> Listing:
    """The files of a folder, or those that a list names, a path or URL a line.

    Relative paths of a list begin at its folder. Raises SourceError if there is no such source, or
    it cannot be read.
    """
    try:
        system, path = located(source)
        kind = system.get_file_info(path).type
        if kind == FileType.Directory:
            return _of_folder(source, system, path)
        if kind == FileType.NotFound:
            raise SourceError(f"{source}: not there")
        if path.lower().endswith((*SUFFIXES, PDF_SUFFIX)):
            raise SourceError(f"{source}: one file; expected a folder, or a list of files")
        with system.open_input_stream(path) as file:
            text = file.read().decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{source}: no list of files, a path a line: {error}") from error
    except OSError as error:
        raise SourceError(f"{source}: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = dict.fromkeys(line for line in lines if line and not line.startswith("#"))
    return _of_list(source.rpartition("/")[0] or ".", keys)


def _of_folder(source: str, system: FileSystem, path: str) -> Listing:
    begin = len(path.rstrip("/")) + 1
    found, skipped = [], 0
    for info in system.get_file_info(FileSelector(path, recursive=True)):
        if info.type != FileType.File:
            continue
        if may_be_pages(info.base_name):
            found.append((info.path[begin:], info))
        else:
            skipped += 1
    return Listing(source, _table(found), skipped=skipped)


def _of_list(base: str, keys: Iterable[str]) -> Listing:
    def state(key: str) -> tuple[str, FileInfo | None, str]:
        try:
            system, path = place(base, key)
            info = system.get_file_info(path)
        except (SourceError, OSError) as error:
            return key, None, str(error)
        return (key, info, "") if info.type == FileType.File else (key, None, "no such file")

    with ThreadPoolExecutor(STATED_AT_ONCE) as pool:
        states = list(pool.map(state, keys))
    found = [(key, info) for key, info, _ in states if info is not None]
    return Listing(base, _table(found), {key: why for key, info, why in states if info is None})


def _table(found: list[tuple[str, FileInfo]]) -> pa.Table:
    found.sort(key=lambda one: one[0])
    columns = [
        [key for key, _ in found],
        [info.size for _, info in found],
        [(info.mtime_ns or 0) // 1000 for _, info in found],
    ]
    return pa.table(columns, schema=LISTED)


def may_be_pages(name: str) -> bool:
    """Whether a file of that name is looked at: a page by its suffix, or one without a suffix."""
    suffix = os.path.splitext(name)[1].lower()
    return not name.startswith(".") and suffix in ("", *SUFFIXES, PDF_SUFFIX)


@dataclass(frozen=True)
class Content:
    """A file that was read."""

    sha256: str
    length: int  # bytes
    data: bytes | None = field(repr=False)  # None if there are more than were to be held


def read(base: str, key: str, most: int) -> Content:
    """A file's content, if it is no longer than `most` bytes. Raises SourceError or OSError."""
    system, path = place(base, key)
    digest, chunks, count = hashlib.sha256(), [], 0
    with system.open_input_stream(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            count += len(chunk)
            if count <= most:
                chunks.append(chunk)
            else:
                chunks.clear()
    return Content(digest.hexdigest(), count, b"".join(chunks) if count <= most else None)
