"""The log's database: SQLite or PostgreSQL by URL, brought to the newest schema.

No error says the URL: it may have a password.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 0x636F756E  # any number, the same in all gateways
# How each driver connects, where the URL does not say otherwise
SQLITE = {"timeout": 5}  # s, for another process's write
POSTGRES = {
    "connect_timeout": 3,
    "application_name": "countersign-gateway",
    "options": "-c statement_timeout=15s -c lock_timeout=5s",
    # a machine that is gone is noticed within 20 s
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
POOL_WAIT_S = 2
MIGRATING = Lock()  # alembic has one context for a process


def sqlite_url(folder: Path) -> str:
    """The URL of the log in a data folder, which is made, for this user alone.

    OSError if that fails.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder.resolve() / "predictions.sqlite"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's other files get its mode
    return URL.create("sqlite", database=str(path)).render_as_string()


def parsed(url: str) -> URL:
    """The URL with the driver that is installed. ValueError, which does not repeat it, if it is
    neither SQLite's nor PostgreSQL's.
    """
    expected = "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
    try:
        found = make_url(url)
        backend = found.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ValueError(f"the log's URL cannot be read, {expected}") from None
    if backend == "sqlite":
        if not found.database or found.database == ":memory:":
            raise ValueError("the log's URL has no file: sqlite:///FILE")
        return found.set(drivername="sqlite")
    if backend not in ("postgresql", "postgres"):
        raise ValueError(f"the log's URL is of another database, {expected}")
    if "@" in (found.host or ""):
        raise ValueError("the log's URL has two @; one in a password is written %40")
    return found.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """What may be said of a URL: neither user nor password nor parameters."""
    host = url.host and (f"{url.host}:{url.port}" if url.port else url.host)
    return " ".join(filter(None, (url.get_backend_name(), host, url.database)))


def engine_of(url: URL, connections: int) -> Engine:
    """Up to so many connections, each made when it is first needed."""
    sqlite = url.get_backend_name() == "sqlite"
    settings = SQLITE if sqlite else POSTGRES
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=not sqlite,
        connect_args={name: settings[name] for name in settings.keys() - url.query.keys()},
    )
    if sqlite:
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes."""
    with engine.connect() as connection:
        connection = connection.execution_options(writes=True)
        with connection.begin():
            yield connection


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # _begin begins
    _write_ahead(connection)
    for pragma in (
        "synchronous = normal",  # a power cut may take the last answers, and breaks nothing
        "foreign_keys = on",
        "secure_delete = on",  # what is deleted is overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite waits for no other process that does the same to a new file, so this does."""
    end = time.monotonic() + SQLITE["timeout"]
    while True:
        try:
            connection.execute("PRAGMA journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _begin(connection: Connection) -> None:
    """Writers wait for each other when they begin, and not in the middle, where they would fail."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, or leave it as it was; one process at a time.

    Raises sqlalchemy's errors, and alembic's CommandError if the schema is newer than this code.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with MIGRATING, writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
