"""The schema, and what may be a URL."""

import logging
import os
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import make_url, text

from gateway.log import PredictionLog, sqlite_url
from gateway.log.database import engine_of, migrate, parsed, shown, writing
from gateway.log.tables import Table


@pytest.fixture
def engine(url):
    engine = engine_of(parsed(url), 1)
    yield engine
    engine.dispose()


def test_migrating_an_empty_database_gives_the_tables_of_the_code(engine):
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Table.metadata) == []


def test_migrating_again_changes_nothing(engine):
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO corrections (sha256, page, version, at, caller, width, height,"
                " classes, boxes) VALUES ('ab', 1, 1, '2026-01-01', 'me', 1, 1, '[]', '[]')"
            )
        )
    migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM corrections")) == 1


MIGRATE = """
import sys
from gateway.log.database import engine_of, migrate, parsed
engines = [engine_of(parsed(url), 1) for url in sys.argv[1:]]
print(flush=True)
sys.stdin.readline()
for engine in engines:
    migrate(engine)
"""


@pytest.mark.needs("pg_ctlcluster")
def test_two_processes_migrate_at_the_same_moment(postgres, tmp_path):
    command = [sys.executable, "-c", MIGRATE, sqlite_url(tmp_path), postgres.new_url()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors


def test_a_schema_newer_than_the_code_is_left_alone(engine, url, open_log, entry, until, caplog):
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_tomorrow'"))
    log = open_log()
    log.put(entry())
    until(lambda: "from_tomorrow" in caplog.text)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM predictions")) == 0


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "cannot be read"),
        (f"my log {SECRET}", "cannot be read"),
        (f"oracle://me:{SECRET}@host/log", "another database"),
        (f"postgresql://me:{SECRET}@host:port/log", "cannot be read"),
        (f"mysql://me:{SECRET}@host/log", "another database"),
        (f"postgresql://me:p@{SECRET}@host/log", "two @"),
        ("sqlite://", "no file"),
        ("sqlite:///:memory:", "no file"),
    ],
)
def test_what_is_no_url_of_a_log_is_refused_without_being_repeated(url, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        PredictionLog(url)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_nothing_secret_of_a_url_is_shown():
    url = f"postgresql://me:{SECRET}@host:5433/log?password={SECRET}&sslpassword={SECRET}"
    assert shown(make_url(url)) == "postgresql host:5433 log"
    assert (
        shown(make_url("sqlite:////data/predictions.sqlite")) == "sqlite /data/predictions.sqlite"
    )


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@localhost:1/log",
        f"postgresql://me@localhost:1/log?password={SECRET}",
        f"postgresql://localhost:1/log?user=me&password={SECRET}&nonsense={SECRET}",
    ],
    ids=["password", "parameter", "a parameter that PostgreSQL does not know"],
)
def test_no_line_and_no_error_shows_a_password(url, entry, until, caplog):
    caplog.set_level(logging.DEBUG)
    log = PredictionLog(url)
    log.put(entry())
    until(lambda: "answers wait" in caplog.text)
    with pytest.raises(Exception, match="postgresql localhost:1 log") as error:
        log.find("ab" * 32)
    log.close(1)
    assert SECRET not in caplog.text + str(error.value) + repr(error.value)
    assert SECRET not in repr(log)


def test_the_default_is_a_file_that_others_cannot_read(tmp_path):
    url = sqlite_url(tmp_path / "a?folder%")
    engine = engine_of(parsed(url), 1)
    migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        names = {path.name for path in (tmp_path / "a?folder%").iterdir()}
        for name in names:
            assert os.stat(tmp_path / "a?folder%" / name).st_mode & 0o077 == 0
    assert "predictions.sqlite" in names
    assert (tmp_path / "a?folder%").stat().st_mode & 0o077 == 0
    engine.dispose()
