"""The review queue, and corrections."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest

from gateway.log.entry import now
from gateway.log.predictions import (
    LogDown,
    PredictionLog,
    Superseded,
    UnknownPage,
    WrongBoxes,
    check_boxes,
)

SIZE = (400, 600)


def page(number=1, *scores, box=(10.0, 20.0, 110.0, 60.0)):
    marks = [{"class": "signature", "confidence": s, "bbox": list(box)} for s in scores]
    return {"page": number, "width": 400, "height": 600, "detections": marks}


@pytest.fixture
def log_of(open_log, until):
    def make(*entries, random_share=0.0):
        log = open_log(random_share=random_share)
        for one in entries:
            log.put(one)
        until(lambda: log._writer.counts.written == len(entries))
        return log

    return make


def digest(content):
    return sha256(content).hexdigest()


def queued(log, **asked):
    return [(each["sha256"], each["page"]) for each in log.queue(**asked)["pages"]]


def test_pages_wait_for_a_person_with_their_reasons(log_of, entry):
    sure, doubtful, failed = page(1, 0.95), page(2, 0.7), {"page": 3, "error": {"status": 422}}
    model = {"name": "document_detector", "version": "6"}
    asked = entry(b"a", [sure, doubtful, failed])
    log = log_of(entry(b"b"), asked)
    (waiting,) = log.queue()["pages"]
    assert waiting.pop("time").endswith("Z")
    assert waiting == {
        "sha256": digest(b"a"), "page": 2, "why": ["near"], "model": model, "width": 400,
        "height": 600, "detections": doubtful["detections"], "stored": False,
    }  # fmt: skip


def test_another_version_that_sees_other_marks_disagrees(log_of, entry):
    elsewhere = page(1, 0.95, box=(200.0, 300.0, 290.0, 390.0))
    log = log_of(
        entry(b"a", [page(1, 0.95)]),
        entry(b"b", [page(1, 0.95)]),
        entry(b"a", [elsewhere]),
        entry(b"b", [page(1, 0.92)]),
    )
    (waiting,) = log.queue()["pages"]
    assert (waiting["sha256"], waiting["why"]) == (digest(b"a"), ["disagreeing"])
    assert waiting["detections"] == elsewhere["detections"]


def test_a_page_that_disagreed_still_waits_when_it_is_asked_again(log_of, entry):
    log = log_of(*(entry(b"a", [page(1, *scores)]) for scores in ((0.95,), (), ())))
    assert log.queue()["total"] == 1


def test_a_page_that_was_corrected_does_not_come_back(log_of, entry, until):
    log = log_of(entry(b"a", [page(1, 0.7), page(2, 0.7)]))
    log.correct(digest(b"a"), 1, SIZE, [], "a person")
    log.put(entry(b"a", [page(1, 0.71), page(2, 0.71)]))
    until(lambda: log._writer.counts.written == 2)
    assert queued(log) == [(digest(b"a"), 2)]


def test_random_pages_wait_too_but_none_that_failed(log_of, entry):
    pages = [page(1, 0.95), {"page": 2, "error": {"status": 422}}]
    log = log_of(entry(b"a", pages), random_share=1.0)
    assert [each["why"] for each in log.queue()["pages"]] == [["random"]]


def test_one_reason_can_be_asked_for(log_of, entry):
    log = log_of(entry(b"a", [page(1, 0.7)]), entry(b"b", [page(1, 0.95)]), random_share=1.0)
    assert len(queued(log)) == 2
    assert queued(log, why="near") == [(digest(b"a"), 1)]
    assert queued(log, why="disagreeing") == []


def test_a_file_asked_twice_waits_once(log_of, entry):
    log = log_of(entry(b"a", [page(1, 0.7)]), entry(b"a", [page(1, 0.71)]))
    (waiting,) = log.queue()["pages"]
    assert waiting["detections"][0]["confidence"] == 0.71


def test_the_queue_is_read_in_parts_the_newest_first(log_of, entry):
    began = now()
    log = log_of(
        entry(b"old", [page(1, 0.7)], at=began - timedelta(hours=1)),
        entry(b"long", [page(n, 0.7) for n in range(1, 6)], at=began),
        entry(b"long too", [page(n, 0.7) for n in range(1, 6)], at=began),
    )
    whole = queued(log)
    files = sorted([digest(b"long"), digest(b"long too")])
    assert whole == [(file, n) for file in files for n in range(1, 6)] + [(digest(b"old"), 1)]
    parts, after = [], None
    while True:
        part = log.queue(limit=3, after=after)
        assert part["total"] == 11
        parts += [(each["sha256"], each["page"]) for each in part["pages"]]
        if (after := part["next"]) is None:
            break
        assert len(part["pages"]) == 3
    assert parts == whole


def test_the_queue_goes_on_behind_pages_that_were_corrected_meanwhile(log_of, entry):
    log = log_of(entry(b"a", [page(n, 0.7) for n in range(1, 5)]))
    first = log.queue(limit=2)
    for number in (1, 2):
        log.correct(digest(b"a"), number, SIZE, [], "a person")
    rest = queued(log, after=first["next"])
    assert rest == [(digest(b"a"), 3), (digest(b"a"), 4)]


def test_a_cursor_that_is_none_is_refused(log_of):
    log = log_of()
    for after in ("", "x", "20260101T000000.0-ab-x", "1-2-3"):
        with pytest.raises(ValueError, match="after"):
            log.queue(after=after)


def test_corrections_stand_beside_the_answer(log_of, entry):
    given = page(1, 0.7)
    log = log_of(entry(b"a", [given]))
    box = {"class": "stamp", "bbox": [1.0, 2.0, 30.0, 40.0]}
    first = log.correct(digest(b"a"), 1, SIZE, [box], "ann")
    second = log.correct(digest(b"a"), 1, (800, 1200), [], "bob", replaces=1)
    assert (first["version"], second["version"]) == (1, 2)
    found = log.find(digest(b"a"))
    assert found["predictions"][0]["pages"] == [given]
    assert [each | {"time": ""} for each in found["corrections"]] == [
        {"page": 1, "version": 2, "time": "", "caller": "bob", "width": 800, "height": 1200,
         "detections": []},
        {"page": 1, "version": 1, "time": "", "caller": "ann", "width": 400, "height": 600,
         "detections": [box]},
    ]  # fmt: skip
    assert log.queue()["total"] == 0


def test_a_correction_of_what_another_person_corrected_meanwhile_is_refused(log_of, entry):
    log = log_of(entry(b"a"))
    log.correct(digest(b"a"), 1, SIZE, [], "ann", replaces=0)
    with pytest.raises(Superseded) as refused:
        log.correct(digest(b"a"), 1, SIZE, [], "bob", replaces=0)
    assert refused.value.version == 1


def test_of_two_at_the_same_moment_one_is_refused(log_of, url, entry):
    log_of(entry(b"a"))
    patient = url.replace("timeout=0.1", "timeout=30")  # SQLite's lock is the other's meanwhile
    logs = [PredictionLog(patient, gather_s=0) for _ in range(2)]

    def correct(number):
        try:
            logs[number % 2].correct(digest(b"a"), 1, SIZE, [], str(number), replaces=0)
        except Superseded:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(correct, range(4))) == 1
    assert len(logs[0].find(digest(b"a"))["corrections"]) == 1
    for log in logs:
        log.close(5)


def test_only_pages_that_were_answered_can_be_corrected(log_of, entry):
    log = log_of(entry(b"a"))
    for content, number in ((b"b", 1), (b"a", 2)):
        with pytest.raises(UnknownPage, match=f"page {number} of this file"):
            log.correct(digest(content), number, SIZE, [], "ann")


@pytest.mark.parametrize(
    ("name", "box", "reason"),
    [
        ("logo", [1, 2, 3, 4], r"\[1\]\.class: 'logo', known are signature, stamp"),
        ("stamp", [1, 2, 401, 4], r"\[1\]\.bbox: 1, 2, 401, 4, limit .* 400"),
        ("stamp", [1, 2, 3, 601], "601, limit"),
        ("stamp", [-1, 2, 3, 4], "-1, 2"),
        ("stamp", [3, 2, 3, 4], "limit 0 <= x0 < x1"),
        ("stamp", [1, float("nan"), 3, 4], "nan"),
    ],
)
def test_boxes_that_cannot_be_are_named(name, box, reason):
    boxes = [{"class": "stamp", "bbox": [0, 0, 400, 600]}, {"class": name, "bbox": box}]
    with pytest.raises(WrongBoxes, match=reason):
        check_boxes(boxes, SIZE, ["signature", "stamp"])


def test_a_correction_with_a_box_that_cannot_be_is_not_stored(log_of, entry):
    log = log_of(entry(b"a"))
    with pytest.raises(WrongBoxes):
        log.correct(digest(b"a"), 1, SIZE, [{"class": "logo", "bbox": [1, 2, 3, 4]}], "ann")
    assert log.find(digest(b"a"))["corrections"] == []


def test_the_newest_corrections_are_told_file_by_file(log_of, entry, monkeypatch):
    monkeypatch.setattr("gateway.log.predictions.EXPORTED", 2)
    contents = [b"a", b"b", b"c"]
    log = log_of(*(entry(each, [page(1), page(2)]) for each in contents))
    for who in ("ann", "bob"):
        for each in contents:
            for number in (2, 1):
                log.correct(digest(each), number, SIZE, [], who)
    found = list(log.corrected())
    assert [(each["sha256"], each["page"]) for each in found] == [
        (name, number) for name in sorted(map(digest, contents)) for number in (1, 2)
    ]
    assert {each["caller"] for each in found} == {"bob"}
    assert found[0]["classes"] == ["signature", "stamp"]


@pytest.mark.needs("pg_ctlcluster")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # SQLite reads what is locked
def test_a_log_that_cannot_be_read_says_so(log_of, entry, away):
    log = log_of(entry(b"a"))
    with away(), pytest.raises(LogDown, match=r"^postgresql log: OperationalError$"):
        log.find(digest(b"a"))
    assert log.find(digest(b"a"))["total"] == 1
