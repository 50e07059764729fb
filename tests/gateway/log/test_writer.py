"""Answers get into the database, whatever happens to it, and nobody waits for that."""

import logging
import os
import resource
import signal
import time
from hashlib import sha256
from threading import Event

import psycopg
import pytest
from sqlalchemy import MetaData, event

from gateway.log import Store
from gateway.log.database import engine_of, parsed, writing
from gateway.log.writer import insert


def counts(log):
    return log._writer.counts


def written(log, number=1):
    return lambda: counts(log).written == number


def test_an_answer_is_found_as_it_was_given(open_log, entry, until):
    mark = {
        "class": "stamp", "confidence": 0.8125, "bbox": [1.5, 2.0, 30.0, 40.5],
        "bbox_points": [0.72, 0.96, 14.4, 19.44],
    }  # fmt: skip
    field = {"name": "Unterschrift ✍", "signed": True, "bbox_points": [1.0, 2.0, 3.0, 4.0]}
    page = {
        "page": 1, "width": 1240, "height": 1754, "width_points": 595.3, "height_points": 841.9,
        "detections": [mark], "signature_fields": [field], "stamp_annotations": [],
        "milliseconds": 38.1,
    }  # fmt: skip
    problem = {"type": "about:blank", "title": "no image", "status": 422, "detail": "image: cut"}
    asked = entry(b"a contract", [page, {"page": 3, "error": problem}])
    zone = {"name": "borrower", "page": 1, "document_page": 1, "verdict": "missing"}
    check = {"form": "loan", "verdict": "missing", "zones": [zone]}
    log = open_log()
    log.put(entry(b"another"))
    log.put(entry(b"a contract", [page, {"page": 3, "error": problem}], check=check))
    until(written(log, 2))
    found = log.find(asked.document["sha256"])
    (prediction,) = found.pop("predictions")
    assert found == {
        "sha256": asked.document["sha256"], "stored": False, "total": 1, "corrections": [],
    }  # fmt: skip
    assert prediction.items() >= asked.document.items()
    assert prediction["check"] == check
    assert prediction["caller"] == "cs_1234abcd"
    assert prediction["milliseconds"] == 12.5
    assert prediction["thresholds"] == {"signature": 0.76, "stamp": 0.73}
    assert prediction["time"].endswith("Z")


def test_the_same_file_asked_again_is_another_answer_the_newest_first(open_log, entry, until):
    log = open_log()
    for number in range(3):
        log.put(entry(milliseconds=number))
    until(written(log, 3))
    found = log.find(entry().document["sha256"], limit=2)
    assert [one["milliseconds"] for one in found["predictions"]] == [2, 1]
    assert found["total"] == 3
    rest = log.find(entry().document["sha256"], limit=2, skip=2)
    assert [one["milliseconds"] for one in rest["predictions"]] == [0]


def test_a_reading_of_a_captcha_is_an_answer_too(open_log, entry, until):
    page = {"page": 1, "text": "123456", "confidence": 0.99, "certain": True}
    log = open_log(random_share=1)
    log.put(entry(pages=[page], thresholds={}, accept={}))
    until(written(log))
    (prediction,) = log.find(entry().document["sha256"])["predictions"]
    assert prediction["pages"] == [page]
    assert log.queue()["total"] == 0


@pytest.mark.parametrize("text", ["a\0b", "half \ud800 a pair"])
def test_text_that_postgresql_takes_in_no_column_is_logged_without_it(open_log, entry, until, text):
    field = {"name": text, "signed": False, "bbox_points": None}
    page = {"page": 1, "width": 1, "height": 1, "detections": [], "signature_fields": [field]}
    log = open_log()
    log.put(entry(pages=[page], caller=text))
    until(written(log))


def test_a_document_of_500_pages_is_one_answer(open_log, entry, until):
    mark = {"class": "stamp", "confidence": 0.9, "bbox": [1.0, 2.0, 30.0, 40.0]}
    size = {"width": 1240, "height": 1754}
    pages = [{"page": n, **size, "detections": [mark] * 10} for n in range(1, 501)]
    log = open_log(most_rows=1000)  # it has more
    log.put(entry(pages=pages))
    until(written(log))
    (prediction,) = log.find(entry().document["sha256"])["predictions"]
    assert prediction["pages"] == pages


def test_while_the_database_is_away_answers_wait_and_nobody_waits_for_them(
    open_log, away, entry, until, caplog
):
    log = open_log()
    log.put(entry())
    until(written(log))
    with away():
        slowest = 0.0
        for number in range(2, 52):
            began = time.perf_counter()
            log.put(entry(str(number).encode()))
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        until(lambda: counts(log).failed >= 2)
        assert slowest < 0.1
        assert counts(log).written == 1
        shown = {each.name: each.samples for each in log.collect()}
        assert shown["gateway_log_waiting_answers"][0].value == 50
        assert shown["gateway_log_up"][0].value == 0
        assert caplog.text.count("answers wait") == 1  # not once a try
    until(written(log, 51))
    until(lambda: "written again" in caplog.text)
    assert {each.name: each.samples[0].value for each in log.collect()}["gateway_log_up"] == 1
    for number in range(2, 52):
        assert log.find(entry(str(number).encode()).document["sha256"])["total"] == 1


def test_a_log_that_starts_before_its_database_begins_when_it_is_there(
    open_log, away, entry, until
):
    with away():
        log = open_log()
        log.put(entry())
        until(lambda: counts(log).failed >= 1)
    until(written(log))


def test_a_database_that_comes_back_empty_is_filled_anew(open_log, url, entry, until):
    log = open_log()
    log.put(entry())
    until(written(log))
    engine = engine_of(parsed(url), 1)
    with writing(engine) as connection:
        tables = MetaData()
        tables.reflect(connection)
        tables.drop_all(connection)
    engine.dispose()
    log.put(entry(b"another"))
    until(written(log, 2))
    assert log.find(entry(b"another").document["sha256"])["total"] == 1


def test_what_finds_no_room_is_dropped_and_counted(open_log, away, entry, until):
    log = open_log(most_rows=9)  # an answer with a page and a mark has three
    log.put(entry())
    until(written(log))
    with away():
        until(lambda: not log._writer.entries)
        for number in range(5):
            log.put(entry(str(number).encode()))
        (answers,) = (each for each in log.collect() if each.name == "gateway_log_answers")
        values = {sample.labels["outcome"]: sample.value for sample in answers.samples}
        assert values == {"written": 1, "dropped": 2, "refused": 0}
    until(written(log, 4))


@pytest.mark.parametrize(
    "others", [{"milliseconds": None}, {"milliseconds": object()}, {"at": "yesterday"}]
)
def test_an_answer_that_does_not_fit_goes_alone(open_log, away, entry, until, caplog, others):
    log = open_log()
    log.put(entry())
    until(written(log))
    with away():
        log.put(entry(b"before"))
        log.put(entry(b"broken", **others))
        log.put(entry(b"after"))
    until(written(log, 3))
    assert counts(log).refused == 1
    assert "does not fit" in caplog.text
    assert log.find(entry(b"broken").document["sha256"])["total"] == 0


def test_what_was_written_without_our_knowing_is_not_written_twice(url, open_log, entry, until):
    log = open_log()
    asked = entry()
    log.put(asked)
    until(written(log))
    engine = engine_of(parsed(url), 1)
    with writing(engine) as connection:
        insert(connection, [asked], 0)
    engine.dispose()
    assert log.find(asked.document["sha256"])["total"] == 1


def test_two_gateways_write_into_one_database(open_log, entry, until):
    logs = [open_log(), open_log()]
    for number in range(40):
        logs[number % 2].put(entry(str(number).encode()))
    for log in logs:
        until(written(log, 20))
        assert counts(log).refused == 0
    totals = [logs[0].find(entry(str(n).encode()).document["sha256"])["total"] for n in range(40)]
    assert totals == [1] * 40


def test_answers_of_half_a_second_are_one_transaction(open_log, url, entry, until):
    log = open_log(gather_s=0.5)
    until(lambda: log._writer.up)
    commits = []
    event.listen(log._writer._engine, "commit", lambda _: commits.append(1))
    for number in range(5):
        log.put(entry(str(number).encode()))
        time.sleep(0.01)
    until(written(log, 5))
    assert len(commits) <= 2  # the first may be on its way


def test_closing_does_not_wait_for_others_to_gather(open_log, entry, until):
    log = open_log(gather_s=30)
    until(lambda: log._writer.up)
    log.put(entry())
    log.close(5)
    assert counts(log).written == 1


def test_closing_writes_what_waits(open_log, entry):
    log = open_log()
    for number in range(20):
        log.put(entry(str(number).encode()))
    log.close(5)
    assert counts(log).written == 20
    assert log.find(entry(b"19").document["sha256"])["total"] == 1


def test_closing_without_the_database_takes_no_longer_than_it_may(
    open_log, away, entry, until, caplog
):
    log = open_log()
    log.put(entry())
    until(written(log))
    with away():
        log.put(entry(b"lost"))
        until(lambda: counts(log).failed >= 1)
        began = time.monotonic()
        log.close(1)
        assert time.monotonic() - began < 1.1
    assert counts(log).dropped == 1
    assert "1 answers were not written" in caplog.text


def test_files_are_stored_beside_and_without_a_database(
    tmp_path, open_log, away, entry, until, caplog
):
    caplog.set_level(logging.DEBUG)
    store = Store(tmp_path / "store")
    log = open_log(store=store, most_bytes=100)
    log.put(entry(b"a file", content=b"a file"))
    until(written(log))
    with away():
        log.put(entry(b"another", content=b"another"))
        until(lambda: store.has(entry(b"another").document["sha256"]))
        log.put(entry(b"a file", content=b"a file"))
    until(written(log, 3))
    until(lambda: not log._writer.files)
    assert log.find(entry(b"a file").document["sha256"])["stored"]
    assert counts(log).stored == 2
    assert "a file" not in caplog.text


class Stuck(Store):
    """Takes nothing until it is let go."""

    def __init__(self, folder):
        super().__init__(folder)
        self.go = Event()

    def put(self, content):
        self.go.wait(10)
        return super().put(content)


def test_files_for_which_there_is_no_room_are_counted_and_their_answers_logged(
    tmp_path, open_log, entry, until
):
    store = Stuck(tmp_path / "store")
    log = open_log(store=store, most_bytes=100)
    log.put(entry(b"1", content=bytes(60)))
    log.put(entry(b"2", content=bytes(60)))
    assert counts(log).not_stored == 1
    store.go.set()
    until(written(log, 2))
    until(lambda: counts(log).stored)
    assert (counts(log).stored, counts(log).not_stored) == (1, 1)


def test_a_store_whose_disk_is_full_is_counted_and_its_answer_logged(
    tmp_path, open_log, entry, until, caplog
):
    store = Store(tmp_path / "store")
    log = open_log(store=store)
    (store.folder / sha256(b"full").hexdigest()[:2]).write_text("no folder")
    log.put(entry(b"full", content=b"full"))
    until(written(log))
    until(lambda: "could not be written" in caplog.text)
    assert counts(log).not_stored == 1


def test_without_a_store_no_content_is_kept_in_memory(open_log, entry, until):
    log = open_log()
    log.put(entry(content=b"a file"))
    assert log._writer.files.size == 0
    until(written(log))
    assert not log.find(entry().document["sha256"])["stored"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_disk_that_is_full_is_waited_for(open_log, entry, until):
    """The limit on a file's size stands for the disk's."""
    log = open_log()
    log.put(entry())
    until(written(log))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, hard))
    try:
        for number in range(300):
            log.put(entry(str(number).encode(), pages=entry().document["pages"] * 1))
        until(lambda: counts(log).failed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    until(written(log, 301))


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_database_that_hangs_holds_up_nobody(open_log, url, entry, until):
    log = open_log()
    log.put(entry())
    until(written(log))
    with psycopg.connect(url, autocommit=True) as other:
        pids = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'countersign-gateway'"
        ).fetchall()
    for (pid,) in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.perf_counter()
        for number in range(100):
            log.put(entry(str(number).encode()))
        assert time.perf_counter() - began < 0.5
        log.close(0.2)
        assert counts(log).dropped == 100
    finally:
        for (pid,) in pids:
            os.kill(pid, signal.SIGCONT)
