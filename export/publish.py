"""Publishes the model repository in object storage, from where servers take it.

    python -m export.publish s3://BUCKET/FOLDER [--repository DIR] [--sign KEY.pem]
    python -m export.publish s3://BUCKET/FOLDER --again sha256:DIGEST [--sign KEY.pem]
    python -m export.publish s3://BUCKET/FOLDER --list

Its files come first, under their digests, then the manifest that lists them, then in one step the
pointer that servers read. What breaks off before that step changes nothing that is served.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from inprocess.steps import REPOSITORY
from server import manifest
from server.manifest import Manifest, Refused
from server.settings import ServerError
from server.signature import private_key
from server.storage import Latest, Missing, Storage


def publish(storage: Storage, repository: Path, key: Path | None = None) -> Manifest:
    """The manifest of what is published now, signed with the PEM file `key` if there is one.

    Raises ServerError, and leaves what is published, if the repository is none that servers take,
    the storage fails, or another is published meanwhile.
    """
    signing = private_key(key) if key else None
    before = latest(storage)
    made = manifest.made(repository)
    for digest, path in {file.sha256: path for path, file in made.files.items()}.items():
        data = (repository / path).read_bytes()
        if manifest.sha256(data) != digest:
            raise Refused(f"{repository / path}: changed meanwhile")
        storage.write(manifest.file_name(digest), data)
    if signing:
        storage.write(manifest.signature_name(made.digest), signing.sign(made.text))
    storage.write(manifest.manifest_name(made.digest), made.text)
    storage.publish(made.digest, before)
    return made


def publish_again(storage: Storage, digest: str, key: Path | None = None) -> None:
    """Publishes the manifest of that digest, which is there; signs it if there is a `key`.

    Raises ServerError as publish does.
    """
    signing = private_key(key) if key else None
    before = latest(storage)
    text = storage.read(manifest.manifest_name(digest), manifest.MANIFEST_MAX)
    if manifest.sha256(text) != digest:
        raise Refused(f"{storage.url}: the manifest sha256:{digest} has another digest")
    if signing:
        storage.write(manifest.signature_name(digest), signing.sign(text))
    storage.publish(digest, before)


def latest(storage: Storage) -> Latest | None:
    """What is published, None for nothing yet. Raises ServerError."""
    try:
        return storage.latest()
    except Missing:
        return None


def listed(storage: Storage) -> list[str]:
    """A line for each manifest, the newest last: when it was written, which it is, what it has."""
    found = latest(storage)
    lines = []
    for written, name in sorted(storage.names("manifests")):
        digest, _, kind = name.partition(".")
        if kind == "json":
            text = storage.read(manifest.manifest_name(digest), manifest.MANIFEST_MAX)
            mark = "  published" if found and found.digest == digest else ""
            versions = " ".join(f"{m} {v}" for m, v in newest(manifest.read(text)).items())
            lines.append(f"{written:%Y-%m-%d %H:%M:%S}  sha256:{digest}{mark}  {versions}")
    return lines


def newest(of: Manifest) -> dict[str, int]:
    """The newest version of each model that has model cards."""
    found: dict[str, int] = {}
    for path in of.files:
        model, *rest = path.split("/")
        if rest[1:] == ["model_card.json"] and rest[0].isdigit():
            found[model] = max(found.get(model, 0), int(rest[0]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the arguments say. Exit status 0, or 1 with a line that says why."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="s3://, gs:// or az://, a bucket and a folder in it")
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    parser.add_argument("--sign", type=Path, metavar="KEY.pem", help="an Ed25519 private key")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--again", metavar="sha256:DIGEST", help="one that was published before")
    one.add_argument("--list", action="store_true", help="all that were")
    arguments = parser.parse_args(argv)
    try:
        storage = Storage(arguments.url)
        if arguments.list:
            print("\n".join(listed(storage)))
            return 0
        before = latest(storage)
        if arguments.again:
            digest = manifest.digest_of(arguments.again)
            publish_again(storage, digest, arguments.sign)
        else:
            digest = publish(storage, arguments.repository, arguments.sign).digest
    except (ServerError, OSError) as error:
        print(f"export.publish: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.url}@sha256:{digest}")
    if before:
        print(f"before: sha256:{before.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
