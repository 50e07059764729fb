"""A real PostgreSQL for all tests of the log, and the log of each on SQLite and on it."""

import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from gateway.log import Entry, PredictionLog

PASSWORD = "s3cret:/pass word"  # in a URL: s3cret%3A%2Fpass%20word
ACCEPT = {"signature": 0.76, "stamp": 0.73}


class Postgres:
    """A server of its own in a new folder, reached through a socket there."""

    def __init__(self) -> None:
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
        self.programs = installed[-1] if installed else Path(shutil.which("initdb") or "").parent
        self.folder = Path(tempfile.mkdtemp(prefix="log-"))
        self._numbers = count()

    def start(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # which initdb refuses
            user = _unprivileged()
            for path in (self.folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = self.folder / "data"
        options = ["-U", "log", "-A", "scram-sha-256", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            [self.programs / "initdb", "-D", data, f"--pwfile={secret}", *options],
            check=True, capture_output=True, cwd=self.folder, **as_user,
        )  # fmt: skip
        settings = {"listen_addresses": "", "fsync": "off", "shared_buffers": "16MB"}
        options = [part for pair in settings.items() for part in ("-c", "=".join(pair))]
        self._server = subprocess.Popen(
            [self.programs / "postgres", "-D", data, "-k", self.folder, *options],
            stderr=(self.folder / "stderr").open("w"), cwd=self.folder, **as_user,
        )  # fmt: skip
        for _ in range(200):
            try:
                self.run("CREATE DATABASE log")
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError((self.folder / "stderr").read_text())

    def stop(self) -> None:
        self._server.send_signal(signal.SIGQUIT)  # whoever is connected still
        self._server.wait(10)
        shutil.rmtree(self.folder)

    def run(self, statement: str, database: str = "postgres") -> None:
        settings = {"host": str(self.folder), "user": "log", "password": PASSWORD}
        with psycopg.connect(dbname=database, autocommit=True, **settings) as connection:
            connection.execute(statement.encode())

    def new_url(self) -> str:
        """Of a new, empty schema, which is quicker than a database."""
        name = f"log_{next(self._numbers)}"
        self.run(f"CREATE SCHEMA {name}", "log")
        options = quote(f"-c search_path={name}")
        return f"postgresql://log:s3cret%3A%2Fpass%20word@/log?host={self.folder}&options={options}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """The database takes no connections, and those that it has are ended."""
        self.run("ALTER DATABASE log ALLOW_CONNECTIONS false")
        there = "FROM pg_stat_activity WHERE datname = 'log'"
        self.run(f"SELECT pg_terminate_backend(pid) {there}")
        yield
        self.run("ALTER DATABASE log ALLOW_CONNECTIONS true")


def _version(programs: Path) -> float:
    return float(programs.parent.name)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("no user postgres or nobody, as whom PostgreSQL could run")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.stop()


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("pg_ctlcluster"))]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database, once of each kind; SQLite's waits for a lock a tenth of a second."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.sqlite?timeout=0.1"
    return request.getfixturevalue("postgres").new_url()


@pytest.fixture
def away(url: str, request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[None]]:
    """Makes the database of `url` take nothing, for as long as the context lasts."""
    if url.startswith("postgresql"):
        server = request.getfixturevalue("postgres")
        return server.away

    @contextmanager
    def locked() -> Iterator[None]:
        path = url.removeprefix("sqlite:///").partition("?")[0]
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    return locked


@pytest.fixture
def open_log(url: str) -> Iterator[Callable[..., PredictionLog]]:
    """Opens the log of `url` with these settings; what is put into it is written at once."""
    with ExitStack() as stack:

        def make(**settings: Any) -> PredictionLog:
            log = PredictionLog(url, **{"gather_s": 0} | settings)
            stack.callback(log.close, 5)
            return log

        yield make


@pytest.fixture(name="entry", scope="session")
def entry_fixture() -> Callable[..., Entry]:
    return entry


@pytest.fixture(name="until", scope="session")
def until_fixture() -> Callable[..., None]:
    return until


def entry(file: bytes = b"a file", pages: list[dict] | None = None, **others: Any) -> Entry:
    """An answer about a file of these bytes, by default with one signature and nothing doubtful."""
    mark = {"class": "signature", "confidence": 0.95, "bbox": [10.0, 20.0, 110.0, 60.0]}
    if pages is None:
        pages = [
            {"page": 1, "width": 400, "height": 600, "detections": [mark], "milliseconds": 9.5}
        ]
    document = {
        "sha256": sha256(file).hexdigest(),
        "bytes": len(file),
        "kind": "image",
        "page_count": len(pages),
        "model": {"name": "document_detector", "version": "6"},
        "operating_point": "accept",
        "pages": pages,
    }
    settings = {"caller": "cs_1234abcd", "milliseconds": 12.5, "thresholds": ACCEPT}
    return Entry(document, **settings | {"accept": ACCEPT} | others)


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not within time"
        time.sleep(0.005)
