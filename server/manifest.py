"""What a published model repository is: files under their SHA-256, and a manifest that lists them.

At its URL lie
    latest                 "sha256:DIGEST", of the manifest that is published; written last
    manifests/DIGEST.json  {"format": 1, "files": {PATH: {"sha256", "bytes"}}, "folders": [PATH]}
    manifests/DIGEST.sig   the manifest's Ed25519 signature (RFC 8032), 64 bytes, if it has one
    files/DIGEST           a file's content
The same models give the same manifest, and so the same digest.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from server.settings import ServerError

FORMAT = 1
LATEST = "latest"
LATEST_MAX = 128  # bytes
SIGNATURE_BYTES = 64
MANIFEST_MAX = 2**20  # bytes
FILES_MAX = 4096
BYTES_MAX = 8 * 2**30  # of all files
PATH_MAX, PART_MAX = 512, 255  # bytes, of a path and of what is between its slashes
DIGEST = re.compile("[0-9a-f]{64}")
NAMED = re.compile(rf"sha256:({DIGEST.pattern})")


class Refused(ServerError):
    """A published repository is not what it must be; the text names what, and the limit."""


@dataclass(frozen=True)
class File:
    """One file of a repository."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Manifest:
    """The files of a repository, by their paths in it."""

    files: dict[str, File]
    folders: tuple[str, ...]  # those in which no file is, as an ensemble's version
    text: bytes  # as it is published

    @property
    def digest(self) -> str:
        """By which it is known."""
        return sha256(self.text)


def sha256(data: bytes) -> str:
    """SHA-256 (FIPS 180-4), hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """A file's."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def manifest_name(digest: str) -> str:
    """Where the manifest of that digest is published."""
    return f"manifests/{digest}.json"


def signature_name(digest: str) -> str:
    """Where its signature is."""
    return f"manifests/{digest}.sig"


def file_name(digest: str) -> str:
    """Where a file of that digest is."""
    return f"files/{digest}"


def digest_of(text: str) -> str:
    """The digest that "sha256:DIGEST" names. Raises Refused."""
    if not (named := NAMED.fullmatch(text.strip())):
        raise Refused(f"{text[:80]!r}, expected sha256: and 64 hexadecimal digits")
    return named[1]


def made(repository: Path) -> Manifest:
    """The manifest of what a server would copy of a repository: all versions of its models.

    Raises Refused if there are none, or if they have what may not be published.
    """
    files: dict[str, File] = {}
    folders: list[str] = []
    for config in sorted(repository.glob("[!.]*/config.pbtxt")):
        for path, source in walk(config.parent):
            if source.is_dir():
                folders.append(path)
            else:
                data = source.read_bytes()
                files[path] = File(sha256(data), len(data))
    listed = {path: {"sha256": file.sha256, "bytes": file.size} for path, file in files.items()}
    text = json.dumps(
        {"format": FORMAT, "files": listed, "folders": folders}, indent=1, sort_keys=True
    )
    return read(text.encode() + b"\n")


def walk(model: Path) -> Iterator[tuple[str, Path]]:
    """Each file of a model's folder, and each folder without any, by its path in the repository."""
    found = [path for path in model.resolve().glob("[!.]*") if path.name != "__pycache__"]
    while found:
        path = found.pop()
        inside = list(path.iterdir()) if path.is_dir() else []
        inside = [each for each in inside if each.name != "__pycache__"]
        found += inside
        if not inside:
            yield f"{model.name}/{path.relative_to(model.resolve()).as_posix()}", path


def read(text: bytes) -> Manifest:
    """The manifest that `text` is. Raises Refused, with the first thing in it that may not be."""
    if len(text) > MANIFEST_MAX:
        raise Refused(f"manifest: {len(text)} bytes, limit {MANIFEST_MAX}")
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise Refused(f"manifest: format {found['format']!r:.80}, expected {FORMAT}")
        files = {
            path: File(str(each["sha256"]), each["bytes"]) for path, each in found["files"].items()
        }
        folders = tuple(map(str, found["folders"]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"manifest: none that is known ({type(error).__name__}: {error})") from error
    check_files(files)
    check_paths(files.keys(), set(folders))
    return Manifest(files, folders, text)


def check_files(files: dict[str, File]) -> None:
    """Raises Refused for too many, too large ones, and for what is no digest or no size."""
    if len(files) > FILES_MAX:
        raise Refused(f"manifest: {len(files)} files, limit {FILES_MAX}")
    for path, file in files.items():
        if not DIGEST.fullmatch(file.sha256):
            raise Refused(f"manifest: {path!r}: {file.sha256[:80]!r} is no SHA-256")
        if type(file.size) is not int or file.size < 0:
            raise Refused(f"manifest: {path!r}: {file.size!r:.80} bytes")
    if (total := sum(file.size for file in files.values())) > BYTES_MAX:
        raise Refused(f"manifest: files of {total} bytes, limit {BYTES_MAX}")
    if not any(path.count("/") == 1 and path.endswith("/config.pbtxt") for path in files):
        raise Refused("manifest: no model in it, MODEL/config.pbtxt")


def check_paths(files: Set[str], folders: Set[str]) -> None:
    """Raises Refused for a path that leads out of the repository, or through a file."""
    parents = set(folders)
    for path in files | folders:
        parts = path.split("/")
        if "\\" in path or not path.isprintable() or {"", ".", ".."} & set(parts):
            raise Refused(f"manifest: path {path[:PATH_MAX]!r}, expected a plain one, as model/1/a")
        if len(path.encode()) > PATH_MAX or max(len(part.encode()) for part in parts) > PART_MAX:
            raise Refused(
                f"manifest: path {path[:80]!r}...: {len(path.encode())} bytes, limit {PATH_MAX}, "
                f"and {PART_MAX} between slashes"
            )
        parents |= {str(parent) for parent in PurePosixPath(path).parents}
    if through := parents & files:
        raise Refused(f"manifest: {min(through)!r} is a folder and a file")


def check_folder(manifest: Manifest, folder: Path) -> None:
    """Raises Refused unless `folder` holds the manifest's files, each to the bit, and no others."""
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for path, file in manifest.files.items():
        found = there.get(path)
        if found is None or found.is_symlink() or not found.is_file():
            raise Refused(f"{path}: missing")
        if (size := found.stat().st_size) != file.size:
            raise Refused(f"{path}: {size} bytes, expected {file.size}")
        if (digest := sha256_of(found)) != file.sha256:
            raise Refused(f"{path}: sha256 {digest}, expected {file.sha256}")
    for path, found in there.items():
        if path not in manifest.files and (found.is_symlink() or not found.is_dir()):
            raise Refused(f"{path}: not in the manifest")
