"""Who may ask what: `countersign-keys add NAME --may detect,read,log` makes a key.

The file has no key, only its scrypt hash (RFC 7914), and is its owner's alone. A running server
reads it again when it changes. A key is cs_ID_SECRET: the ID finds the line, so that a guess costs
no hash.
"""

import argparse
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from server.settings import ServerError

MAY = ("detect", "read", "log")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
KEY = re.compile(r"cs_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}  # 16 MiB, some 50 ms
TRIES = 5  # wrong secrets of one ID a minute that are hashed
TRIES_S = 60


@dataclass(frozen=True)
class Key:
    """A line of the file."""

    name: str
    id: str
    may: tuple[str, ...]  # of MAY
    salt: str  # hexadecimal, as the next
    hash: str
    per_minute: int | None = None  # requests, None for as many as the server takes
    at_once: int | None = None  # requests under way, of each protocol


class Unknown(Exception):
    """No key of the file."""


class TooMany(Exception):
    """So many wrong secrets of one ID that they are no longer looked at."""


def hashed(secret: str, salt: str) -> str:
    """scrypt of a key's secret, hexadecimal."""
    return hashlib.scrypt(secret.encode(), salt=bytes.fromhex(salt), **SCRYPT).hex()


def made(
    name: str, may: Sequence[str], per_minute: int | None, at_once: int | None
) -> tuple[Key, str]:
    """A new key's line, and the key itself. ValueError for what it may not be."""
    if not NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: expected up to 64 letters, digits, _, . and -")
    if unknown := [word for word in may if word not in MAY]:
        raise ValueError(f"--may: {unknown[0]!r}, expected some of {', '.join(MAY)}")
    for option, value in (("--per-minute", per_minute), ("--at-once", at_once)):
        if value is not None and not 1 <= value <= 10**6:
            raise ValueError(f"{option}: {value}, limit 1 to 1000000")
    key_id, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_hex(16)
    line = Key(name, key_id, tuple(may), salt, hashed(secret, salt), per_minute, at_once)
    return line, f"cs_{key_id}_{secret}"


def is_private(found: os.stat_result, user: int, group: int) -> bool:
    """Whether only the file's owner reads it, or this process's group where root laid it for that,
    as Kubernetes lays a Secret."""
    laid = found.st_uid == 0 != user and found.st_gid == group
    return not found.st_mode & (0o037 if laid else 0o077)


def read(path: Path) -> list[Key]:
    """The lines of the file. Raises ServerError if it is none, or others may read it."""
    try:
        if not is_private(path.stat(), os.getuid(), os.getgid()):
            raise ServerError(f"keys {path}: others may read it; chmod 600 {path}")
        keys = [Key(**line | {"may": tuple(line["may"])}) for line in json.loads(path.read_text())]
    except OSError as error:
        raise ServerError(f"keys {path}: {error.strerror}; countersign-keys add") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ServerError(f"keys {path}: not a file of keys ({error})") from error
    for key in keys:
        if not NAME.fullmatch(key.name) or not set(key.may) <= set(MAY):
            raise ServerError(f"keys {path}: {key.name!r} may {', '.join(key.may)}")
    return keys


def write(path: Path, keys: Sequence[Key]) -> None:
    """Replaces the file in one step."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # mode 0600
        json.dump([asdict(key) for key in keys], file, indent=1)
    os.replace(file.name, path)


class Keys:
    """The file's keys, for any number of threads."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = Lock()
        self.reload()

    def reload(self) -> None:
        """Reads the file. Raises ServerError, and keeps the keys that it had, if that fails."""
        self._seen = stamp(self.path)
        self.all = {key.id: key for key in read(self.path)}
        self._known: dict[bytes, Key] = {}  # by the digest of a key that was found right
        self._wrong: dict[str, list[float]] = {}

    def changed(self) -> bool:
        """Whether the file is another than was last read."""
        return stamp(self.path) != self._seen

    def find(self, authorization: str) -> Key:
        """The key that stands after "Bearer". Raises Unknown or TooMany.

        Slow once, then quick: what was found right is remembered by its digest, until reload().
        """
        scheme, _, text = authorization.partition(" ")
        parts = KEY.fullmatch(text.strip())
        if scheme.lower() != "bearer" or not parts:
            raise Unknown
        digest = hashlib.sha256(text.strip().encode()).digest()
        if digest in self._known:
            return self._known[digest]
        key = self.all.get(parts[1])
        if key is None:
            raise Unknown
        with self._lock:  # one hash at a time: guesses leave the other cores alone
            now = time.monotonic()
            wrong = [at for at in self._wrong.get(key.id, []) if now - at < TRIES_S]
            if len(wrong) >= TRIES:
                raise TooMany
            if not hmac.compare_digest(hashed(parts[2], key.salt), key.hash):
                self._wrong[key.id] = [*wrong, now]
                raise Unknown
            if self.all.get(key.id) == key:  # not taken back meanwhile
                self._known[digest] = key
        return key


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes with a file's content, zeros if there is none."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


def main(argv: Sequence[str] | None = None) -> int:
    """Makes, takes back or shows keys. Exit status 0 if that was done."""
    parser = argparse.ArgumentParser(
        prog="countersign-keys", description="Who may ask the server what."
    )
    parser.add_argument(
        "--file",
        type=Path,
        default=os.environ.get("COUNTERSIGN_KEYS", "keys.json"),
        help="of keys (default: %(default)s; COUNTERSIGN_KEYS)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and show it, once")
    add.add_argument("name", help="whose key it is")
    add.add_argument(
        "--may", default="detect,read", help="detect, read, log, with commas (default: detect,read)"
    )
    add.add_argument("--per-minute", type=int, help="requests a minute at most")
    add.add_argument("--at-once", type=int, help="requests under way at most")
    remove = commands.add_parser("remove", help="take a key back")
    remove.add_argument("name")
    commands.add_parser("list", help="show names and what they may")
    args = parser.parse_args(argv)
    try:
        keys = read(args.file) if args.file.exists() or args.command != "add" else []
        names = [key.name for key in keys]
        if args.command == "list":
            for key in keys:
                limits = f"{key.per_minute or '-'} a minute, {key.at_once or '-'} at once"
                print(f"{key.name:24} {','.join(key.may):16} {limits}")
        elif args.command == "remove":
            if args.name not in names:
                raise ValueError(f"name {args.name!r}: no such key in {args.file}")
            write(args.file, [key for key in keys if key.name != args.name])
        else:
            if args.name in names:
                raise ValueError(f"name {args.name!r}: has a key in {args.file}; remove it first")
            key, text = made(args.name, args.may.split(","), args.per_minute, args.at_once)
            write(args.file, [*keys, key])
            print(text)
    except (ServerError, ValueError, OSError) as error:
        print(f"countersign-keys: {error}", file=sys.stderr)
        return 1
    return 0
