import logging
import os
from datetime import datetime, timedelta, timezone
from hashlib import sha256

import pytest

from gateway.log import Store, period
from gateway.log.entry import now
from gateway.log.retention import CHUNK, Clock

DAY = timedelta(days=1)


@pytest.mark.parametrize(("text", "hours"), [("90d", 2160), ("12h", 12), ("1d", 24)])
def test_a_period_is_days_or_hours(text, hours):
    assert period(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "90", "0d", "d", "-1d", "1.5d", "90 d", "1m", "1000000000d"])
def test_anything_else_is_no_period(text):
    with pytest.raises(ValueError, match=r"expected days or hours, as in 90d"):
        period(text)


@pytest.fixture
def old_log(open_log, tmp_path, entry, until):
    """A log and store of four answers: two of a file, 100 and 10 days old, and one each of two."""
    store = Store(tmp_path / "store")
    log = open_log(store=store)
    for content, age in ((b"twice", 100), (b"twice", 10), (b"old", 91), (b"new", 89)):
        log.put(entry(content, content=content, at=now() - age * DAY))
        until(lambda: not log._writer.files)
        moment = (now() - age * DAY).timestamp()
        os.utime(store.path(sha256(content).hexdigest()), (moment, moment))
    until(lambda: log._writer.counts.written == 4)
    for content in (b"twice", b"old"):
        log.correct(sha256(content).hexdigest(), 1, (400, 600), [], "a person")
    log.close(5)
    return log


def test_answers_files_and_corrections_go_when_they_are_old(
    old_log, open_log, tmp_path, until, caplog
):
    caplog.set_level(logging.INFO)
    store = Store(tmp_path / "store")
    log = open_log(store=store, keep=period("90d"))
    until(lambda: log._writer.deleted.predictions)

    def left(content):
        found = log.find(sha256(content).hexdigest())
        return found["total"], len(found["corrections"]), found["stored"]

    assert left(b"twice") == (1, 1, True)  # the older answer is gone
    assert left(b"old") == (0, 0, False)
    assert left(b"new") == (1, 0, True)
    assert "deleted 2 answers from before" in caplog.text
    assert "and 1 corrections" in caplog.text
    assert "deleted 1 stored files of 3 bytes" in caplog.text
    deleted = {
        sample.labels["outcome"]: sample.value
        for family in log.collect()
        if family.name == "gateway_log_deleted"
        for sample in family.samples
    }
    assert deleted == {"answers": 2, "corrections": 1, "files": 1}


def test_without_a_period_nothing_is_deleted(old_log, open_log, tmp_path, entry, until):
    log = open_log(store=Store(tmp_path / "store"))
    log.put(entry())
    until(lambda: log._writer.counts.written == 1)
    assert log.find(sha256(b"old").hexdigest())["total"] == 1
    assert log.find(sha256(b"old").hexdigest())["stored"]


def test_more_than_one_transaction_deletes_go_as_well(open_log, entry, until):
    log = open_log(keep=period("1d"))
    until(lambda: log._writer.up)
    for number in range(CHUNK + 100):
        log.put(entry(str(number).encode(), at=now() - 2 * DAY))
    until(lambda: log._writer.counts.written == CHUNK + 100)
    log.close(5)
    log = open_log(keep=period("1d"))
    until(lambda: log._writer.deleted.predictions == CHUNK + 100)


def test_files_go_while_the_database_is_away(old_log, open_log, away, tmp_path, until):
    store = Store(tmp_path / "store")
    with away():
        log = open_log(store=store, keep=period("90d"))
        until(lambda: log._writer.deleted.files)
    assert not store.has(sha256(b"old").hexdigest())


def test_a_clock_that_is_set_forward_is_noticed():
    """By a year, against the time that the machine has been running."""
    walls = iter([1000.0, 1500.0, 1000.0 + 31_536_000])
    running = iter([10.0, 510.0, 900.0])
    clock = Clock(lambda: next(walls), lambda: next(running))
    assert not clock.jumped()
    assert clock.jumped()


def test_a_clock_tells_utc():
    assert Clock(lambda: 0.0, lambda: 5.0).now() == datetime(1970, 1, 1, tzinfo=timezone.utc)
