"""Where the server is, and what it is shown: URL, TLS files, key, headers."""

import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

PORTS = {"grpc": 8001, "http": 8000}
SCHEMES = {  # protocol, and whether it is encrypted
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
    "dns": ("grpc", False),
    "grpcs+dns": ("grpc", True),
}
FORM = "[grpc|grpcs|http|https://]HOST[:PORT] or [grpcs+]dns:///HOST[:PORT]"
LOCALHOST = "127.0.0.1"
URL, KEY, KEY_FILE = "COUNTERSIGN_URL", "COUNTERSIGN_KEY", "COUNTERSIGN_KEY_FILE"
HEADER_NAME, PRINTABLE = re.compile("[a-z0-9_.-]+"), re.compile("[ -~]*")
RESOLVER = re.compile(r"[A-Za-z0-9_.:\[\]-]*")
VISIBLE = frozenset(string.ascii_letters + string.digits + string.punctuation)


@dataclass(frozen=True)
class Tls:
    """PEM files. Left None: the system's authorities, and no client certificate."""

    ca: str | PathLike[str] | None = None
    cert: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None


@dataclass(frozen=True)
class Address:
    """A server, and how it is asked."""

    protocol: str  # grpc or http
    netloc: str  # host:port, an IPv6 host in brackets
    tls: Tls | None
    headers: Mapping[str, str] = field(repr=False)  # names in lower case; the key is among them
    resolver: str | None = None  # host[:port] or "", if all addresses of the name take turns

    @property
    def target(self) -> str:
        """gRPC's name of the server, or of the servers whose addresses take turns."""
        return self.netloc if self.resolver is None else f"dns://{self.resolver}/{self.netloc}"

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host, without brackets, and port."""
        host, _, port = self.netloc.rpartition(":")
        return host.strip("[]"), int(port)


def address(
    url: str | None,
    protocol: str | None = None,
    tls: Tls | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Address:
    """The server at `url`, else at $COUNTERSIGN_URL, else on this machine.

    `url` is [grpc|grpcs|http|https://]HOST[:PORT]; without a scheme `protocol` says which, and
    without that it is gRPC. With dns:///HOST[:PORT], encrypted if `tls` is given, and
    grpcs+dns:///HOST[:PORT], all addresses of the name take turns; dns://RESOLVER/HOST[:PORT] asks
    a name server of yours. Raises ValueError for any other, for a scheme that `protocol` or `tls`
    contradicts, and for a header or a key that is none; OSError for a key file that cannot be
    read.
    """
    url = (os.environ.get(URL) or LOCALHOST) if url is None else url
    expected = f"url: {url!r}, expected {FORM}"
    scheme, mark, rest = url.rpartition("://")
    resolver = None
    if protocol not in (None, *PORTS):
        raise ValueError(f"protocol: {protocol!r}, expected grpc or http")
    if mark and scheme not in SCHEMES:
        raise ValueError(expected)
    named, encrypted = SCHEMES[scheme] if mark else (protocol or "grpc", tls is not None)
    if scheme.endswith("dns"):
        resolver, slash, rest = rest.partition("/")
        encrypted = encrypted or tls is not None
        if not slash or not RESOLVER.fullmatch(resolver):
            raise ValueError(expected)
    if protocol not in (None, named):
        raise ValueError(f"url: {url!r} contradicts protocol {protocol}")
    if tls is not None and not encrypted:
        raise ValueError(f"url: {url!r} contradicts TLS, expected {named}s://")
    try:
        parts = urlsplit(f"//{rest.removesuffix('/')}")
        host, port = parts.hostname, parts.port or PORTS[named]
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from error
    if not host or parts.netloc != rest.removesuffix("/") or "@" in rest:
        raise ValueError(expected)
    if (":" in host and "[" not in rest) or re.search(r"\s", host):
        raise ValueError(f"{expected}; an IPv6 address stands in brackets")
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    for name, value in sent.items():
        if not HEADER_NAME.fullmatch(name) or not PRINTABLE.fullmatch(value):
            raise ValueError(f"headers: {name!r}, expected a name and printable ASCII characters")
    secret = key_of(key)
    if secret is not None:
        sent.setdefault("authorization", f"Bearer {secret}")
    return Address(named, netloc, tls or (Tls() if encrypted else None), sent, resolver)


def key_of(key: str | None) -> str | None:
    """`key`, else $COUNTERSIGN_KEY, else the content of the file $COUNTERSIGN_KEY_FILE, else None.

    Raises ValueError, which does not show it, unless it is one word of visible ASCII; OSError for
    a file that cannot be read.
    """
    if key is not None:
        return checked_key(key, "key")
    if os.environ.get(KEY):
        return checked_key(os.environ[KEY], KEY)
    if os.environ.get(KEY_FILE):
        return key_in(os.environ[KEY_FILE])
    return None


def key_in(file: str | PathLike[str]) -> str:
    """The key that is all of `file`. Raises as `key_of`."""
    return checked_key(Path(file).read_text(errors="replace"), os.fspath(file))


def checked_key(key: str, source: str) -> str:
    """`key` without space around it. Raises ValueError, which does not show it, if it is none."""
    key = key.strip()
    if not key or not VISIBLE.issuperset(key):
        raise ValueError(f"{source}: no key, expected one word of visible ASCII characters")
    return key
