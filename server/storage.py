"""Object storage: S3 and what speaks it, Google Cloud Storage, Azure.

By obstore, which reads credentials from the environment: AWS_*, GOOGLE_*, AZURE_*, or those of the
machine's own role.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from server.manifest import LATEST, LATEST_MAX, Refused, digest_of
from server.settings import ServerError

# by scheme, the variable that names what speaks it, as MinIO; without TLS if it says http://
ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "GOOGLE_BASE_URL",
    "az": "AZURE_ENDPOINT",
    "abfss": "AZURE_ENDPOINT",
}
CONNECT_S = 5
READ_S = 30  # without a byte
RETRY_S = 20  # from a request's begin, after which it is not tried again
CHUNK = 2**20  # bytes
REASON_MAX = 300  # characters


class Unreachable(ServerError):
    """The storage does not answer, or does not let in."""


class Missing(Refused):
    """There is no object of that name."""


@dataclass(frozen=True)
class Latest:
    """The pointer to what is published, of one moment."""

    digest: str
    written: datetime
    version: dict[str, str]  # by which the storage knows it


class Storage:
    """What lies at a URL, as s3://bucket/folder. Raises ServerError for what is none.

    Whatever reads or writes raises Unreachable too.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ENDPOINTS or not parts.netloc:
            known = ", ".join(f"{scheme}://" for scheme in ENDPOINTS)
            raise ServerError(f"{shown(url)}: expected {known}, a bucket and a folder")
        if parts.password or parts.query or parts.fragment:
            raise ServerError(
                f"{shown(url)}: more than a bucket and a folder; credentials come from the "
                "environment"
            )
        self.url = url
        endpoint = os.environ.get(ENDPOINTS[parts.scheme], "")
        with _reached(url):
            self._store = from_url(
                url,
                client_options={
                    "connect_timeout": f"{CONNECT_S}s",
                    "read_timeout": f"{READ_S}s",
                    "allow_http": endpoint.startswith("http:"),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_S)},
            )

    def read(self, name: str, most: int) -> bytes:
        """The object of that name, of up to `most` bytes. Raises Refused, Missing."""
        return b"".join(self._pieces(name, most))

    def save(self, name: str, path: Path, most: int) -> None:
        """Writes the object into a new file. Raises as read does, and OSError."""
        with path.open("xb") as file:
            for piece in self._pieces(name, most):
                file.write(piece)

    def write(self, name: str, data: bytes) -> None:
        """Makes the object, or replaces it; it is never seen half."""
        with _reached(f"{self.url}/{name}"):
            obstore.put(self._store, name, data, use_multipart=False)

    def names(self, folder: str) -> Iterator[tuple[datetime, str]]:
        """When each object in a folder was written, and its name without the folder's."""
        with _reached(f"{self.url}/{folder}"):
            for objects in obstore.list(self._store, folder):
                for each in objects:
                    yield each["last_modified"], each["path"].removeprefix(f"{folder}/")

    def latest(self) -> Latest:
        """What is published. Raises Missing if nothing is, Refused for a pointer that is none."""
        with _reached(f"{self.url}/{LATEST}"):
            found = obstore.get(self._store, LATEST)
            meta = found.meta
            text = b"".join(self._bounded(LATEST, found, LATEST_MAX)).decode(errors="replace")
        version = {
            name: value
            for name in ("e_tag", "version")
            if (value := meta[name])  # type: ignore[literal-required]
        }
        try:
            return Latest(digest_of(text), meta["last_modified"], version)
        except Refused as error:
            raise Refused(f"{self.url}/{LATEST}: {error}") from error

    def publish(self, digest: str, before: Latest | None) -> None:
        """Has `latest` name the manifest of that digest, if it is still as it was `before`.

        Raises Refused if another was published meanwhile.
        """
        mode = before.version if before else "create"
        try:
            with _reached(f"{self.url}/{LATEST}"):
                obstore.put(self._store, LATEST, f"sha256:{digest}\n".encode(), mode=mode)  # type: ignore[arg-type]
        except (AlreadyExistsError, PreconditionError):
            raise Refused(
                f"{self.url}: another was published meanwhile, sha256:{self.latest().digest}; "
                "look at it, and publish again if this one is to follow"
            ) from None

    def _pieces(self, name: str, most: int) -> Iterator[bytes]:
        with _reached(f"{self.url}/{name}"):
            yield from self._bounded(name, obstore.get(self._store, name), most)

    def _bounded(self, name: str, found: "obstore.GetResult", most: int) -> Iterator[bytes]:
        size = 0
        for piece in found.stream(min_chunk_size=CHUNK):
            size += len(piece)
            if size > most:
                total = max(size, found.meta["size"])
                raise Refused(f"{self.url}/{name}: {total} bytes, limit {most}")
            yield bytes(piece)


@contextmanager
def _reached(what: str) -> Iterator[None]:
    """Has the storage's own errors raised as this module's, but for those of a condition."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise Unreachable(f"{what}: {reason(error)}") from None
        raise Missing(f"{what}: no such object") from None
    except (AlreadyExistsError, PreconditionError):
        raise
    except BaseError as error:
        raise Unreachable(f"{what}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """What went wrong, in a line, without what may be secret: queries, keys, signatures."""
    text = str(error).partition("\n\nDebug source")[0]
    if told := re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL):
        text = f"{told[1]}: {told[2]}"
    text = re.sub(r"<.*", "", text, flags=re.DOTALL)
    return re.sub(r"\?\S+", "?...", " ".join(text.split()))[:REASON_MAX]


def shown(url: str) -> str:
    """A URL without what may be secret in it."""
    return re.sub(r"//[^/@]*:[^/@]*@", "//...@", url.partition("?")[0].partition("#")[0])
