"""The thread that writes the log, so that nobody waits for it.

Answers wait in memory while the database is slow, locked, full or away, and are tried again for
ever. Those that find no room there are dropped and counted.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, TimeoutError

from gateway.log import review
from gateway.log.database import migrate, shown, writing
from gateway.log.entry import Entry, prediction_row, storable
from gateway.log.retention import CHUNK, EVERY_S, Clock, Deleted, delete_answers
from gateway.log.store import Store
from gateway.log.tables import Correction, Page, Prediction, ToLookAt
from gateway.log.waiting import Waiting

MOST_ROWS = 200_000  # that wait: pages and marks of answers, some 100 MB
MOST_BYTES = 256 * 2**20  # of files that wait to be stored
BATCH_ROWS = 2_000  # of one transaction
GATHER_S = 0.5  # that answers wait for others: a transaction costs as much as several answers
IDLE_S = 60  # between looks at the clock
PAUSES_S = (0.1, 0.3, 1, 3, 5)  # between tries; the last one again and again
SAY_S = 60  # between lines about what stays broken
INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

say = logging.getLogger("countersign.gateway.log")


@dataclass
class Counts:
    """Since the start."""

    written: int = 0  # answers
    dropped: int = 0  # answers for which there was no room, or no time at the end
    refused: int = 0  # answers that the database does not take
    failed: int = 0  # tries that the database did not survive
    stored: int = 0  # files, new ones
    not_stored: int = 0  # files for which there was no room, in memory or on the disk


class Writer:
    """Writes what is put into it, and deletes what is older than `keep`, until it is closed."""

    def __init__(
        self,
        engine: Engine,
        store: Store | None,
        keep: timedelta | None,
        random_share: float,
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
        gather_s: float = GATHER_S,
    ):
        self.counts, self.deleted = Counts(), Deleted()
        self.up = False  # whether the database did what it was last asked for
        self.entries: Waiting[Entry] = Waiting(most_rows)
        self.files: Waiting[bytes] = Waiting(most_bytes)
        self._engine, self._store = engine, store
        self._keep, self._random_share, self._gather_s = keep, random_share, gather_s
        self._clock = Clock()
        self._migrated = False
        self._tries = 0  # since the database last did what it was asked for
        self._said: dict[str, float] = {}
        self._answers_due = self._files_due = time.monotonic()  # for what is old to be deleted
        self._woken, self._stopping = Event(), Event()
        self._thread = Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Takes an answer, or drops it where too many wait; never blocks."""
        content, entry = entry.content, replace(entry, content=None)
        if not self.entries.put(entry, entry.rows):
            self.counts.dropped += 1
        if content is not None and self._store and not self.files.put(content, len(content)):
            self.counts.not_stored += 1
        self._woken.set()

    def close(self, timeout_s: float) -> None:
        """Writes what waits, for so long at most; what is left is dropped and counted."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._engine.dispose()
        if left := len(self.entries):
            self.counts.dropped += left
            say.error("prediction log: stopped, %d answers were not written", left)

    def _run(self) -> None:
        more = True  # than one look: the schema, and what is old, are seen to at once
        while True:
            if not (more or self.entries or self.files or self._stopping.is_set()):
                self._woken.wait(IDLE_S)
            if self.entries.size < BATCH_ROWS and not more:
                self._stopping.wait(self._gather_s)
            self._woken.clear()
            stopping = self._stopping.is_set()
            try:
                self._store_files()
                self._delete_files()
                self._write()
                more = self._delete_answers() and not stopping
            except Exception as error:  # whatever it is: who does not write must at least say so
                self._failed(error)
                if stopping:
                    return
                self._stopping.wait(PAUSES_S[min(self._tries, len(PAUSES_S)) - 1])
                continue
            if stopping and not (self.entries or self.files):
                return

    def _store_files(self) -> None:
        """All files that wait. One that the disk does not take is given up, and counted."""
        while self._store and (files := self.files.first(1)):
            try:
                self.counts.stored += self._store.put(files[0])
            except OSError as error:
                self.counts.not_stored += 1
                self._say("store", "store: a file could not be written: %s", error.strerror)
            self.files.done(1)

    def _write(self) -> None:
        """The oldest answers. Raises what the database did."""
        if not self._migrated:
            migrate(self._engine)
            self._migrated = True
        batch = self.entries.first(BATCH_ROWS)
        if self._took(batch):
            self.entries.done(len(batch))
        else:  # one of them is no good
            for entry in batch:
                if not self._took([entry]):
                    self.counts.refused += 1
                    say.error("prediction log: an answer does not fit into the database")
                self.entries.done(1)
        self._succeeded()

    def _took(self, batch: Sequence[Entry]) -> bool:
        """Whether the database took these answers. Raises if it could take none whatever."""
        try:
            with writing(self._engine) as connection:
                insert(connection, batch, self._random_share)
        except Exception as error:
            if is_away(error):
                raise
            return False
        self.counts.written += len(batch)
        return True

    def _delete_answers(self) -> bool:
        """Some of those that are too old; whether there may be more. Raises what the database did.

        Says what was deleted, once none is left.
        """
        if self._keep is None or time.monotonic() < self._answers_due:
            return False
        if self._clock.jumped():
            self._say("clock", "retention: the clock was set, nothing is deleted until a restart")
            return False
        before = self._clock.now() - self._keep
        with writing(self._engine) as connection:
            gone = delete_answers(connection, before)
        self.deleted.predictions += gone.predictions
        self.deleted.corrections += gone.corrections
        if gone.predictions:
            say.info(
                "retention: deleted %d answers from before %s, and %d corrections",
                gone.predictions,
                before.isoformat(timespec="seconds"),
                gone.corrections,
            )
        if gone.predictions < CHUNK:
            self._answers_due = time.monotonic() + EVERY_S
            return False
        return True

    def _delete_files(self) -> None:
        """Those that are too old, the database being there or not."""
        if not self._store or time.monotonic() < self._files_due:
            return
        self._files_due = time.monotonic() + EVERY_S
        if self._keep is None or self._clock.jumped():
            before = 0.0
        else:
            before = (self._clock.now() - self._keep).timestamp()
        try:
            files, size = self._store.delete_before(before)
        except OSError as error:
            self._say("store", "store: old files could not be deleted: %s", error.strerror)
            return
        self.deleted.files += files
        self.deleted.bytes += size
        if files:
            say.info("retention: deleted %d stored files of %d bytes", files, size)

    def _failed(self, error: Exception) -> None:
        self.up = self._migrated = False  # it may come back as another, empty database
        self.counts.failed += 1
        self._tries += 1
        self._say(
            "database",
            "prediction log: %s: %s; %d answers wait",
            shown(self._engine.url),
            reason_of(error, self._engine.url),
            len(self.entries),
        )

    def _succeeded(self) -> None:
        if self._tries:
            say.warning("prediction log: %s: written again", shown(self._engine.url))
        self.up, self._tries = True, 0
        self._said.pop("database", None)

    def _say(self, what: str, line: str, *values: Any) -> None:
        """An error, at most every SAY_S."""
        if time.monotonic() - self._said.get(what, float("-inf")) > SAY_S:
            self._said[what] = time.monotonic()
            say.error(line, *values)


def insert(connection: Connection, entries: Sequence[Entry], random_share: float) -> None:
    """Add answers and their pages, and those of them to look at; what is there already stays."""
    if not entries:
        return
    before = last_marks(connection, {entry.document["sha256"] for entry in entries})
    doubts: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in entries:
        digest = entry.document["sha256"]
        for row in doubtful_rows(entry, before.get(digest, {}), random_share):
            doubts[digest, row["page"]] = row
        if marks := marks_by_page(entry.document["pages"], entry.thresholds, entry.accept):
            before[digest] = marks
    pages = [
        {"prediction_id": entry.id, "page": page["page"], "answer": storable(page)}
        for entry in entries
        for page in entry.document["pages"]
    ]
    put = INSERT[connection.dialect.name]
    rows = [prediction_row(entry) for entry in entries]
    connection.execute(put(Prediction).on_conflict_do_nothing(), rows)
    if pages:
        connection.execute(put(Page).on_conflict_do_nothing(), pages)
    if doubts:
        for key in corrected(connection, {digest for digest, _ in doubts}):
            doubts.pop(key, None)
    if doubts:
        newer = put(ToLookAt)
        columns = ("prediction_id", "at", "near", "disagreeing", "random")
        newer = newer.on_conflict_do_update(
            index_elements=["sha256", "page"],
            set_={name: newer.excluded[name] for name in columns},
            where=ToLookAt.at <= newer.excluded.at,
        )
        connection.execute(newer, [doubts[key] for key in sorted(doubts)])


def doubtful_rows(
    entry: Entry, before: Mapping[int, review.Marks], random_share: float
) -> Iterator[dict[str, Any]]:
    """The columns of tables.ToLookAt, of each page that has a reason; `before` are the marks of the
    last answer about the file.
    """
    if not entry.accept:
        return
    digest = entry.document["sha256"]
    comparable = review.comparable(entry.thresholds, entry.accept)
    for page in entry.document["pages"]:
        if page.get("error") is not None:
            continue
        number = page["page"]
        why = {
            "near": review.near(page, entry.accept, entry.check),
            "disagreeing": comparable and review.disagrees(page, entry.accept, before.get(number)),
            "random": review.drawn(digest, number, random_share),
        }
        if any(why.values()):
            row = {"sha256": digest, "page": number, "prediction_id": entry.id, "at": entry.at}
            yield row | why


def corrected(connection: Connection, digests: Set[str]) -> Iterable[tuple[str, int]]:
    """File and number of the pages of these files that a person has corrected."""
    found = select(Correction.sha256, Correction.page).where(Correction.sha256.in_(digests))
    return [(row.sha256, row.page) for row in connection.execute(found.distinct())]


def last_marks(connection: Connection, digests: Set[str]) -> dict[str, dict[int, review.Marks]]:
    """The marks at or above accept in each file's last answer, by SHA-256 and page."""
    newest = (
        select(Prediction.sha256, func.max(Prediction.at).label("at"))
        .where(Prediction.sha256.in_(digests))
        .group_by(Prediction.sha256)
        .subquery()
    )
    of_newest = (Prediction.sha256 == newest.c.sha256) & (Prediction.at == newest.c.at)
    columns = (Prediction.sha256, Prediction.thresholds, Prediction.accept, Page.answer)
    found = select(*columns).join(newest, of_newest).join(Page)
    marks: dict[str, dict[int, review.Marks]] = {}
    for digest, thresholds, accept, page in connection.execute(found):
        marks.setdefault(digest, {}).update(marks_by_page([page], thresholds, accept))
    return marks


def marks_by_page(
    pages: Sequence[Mapping[str, Any]], thresholds: Mapping[str, float], accept: Mapping[str, float]
) -> dict[int, review.Marks]:
    """The marks at or above accept of each page; none where that was not asked, or it failed."""
    if not review.comparable(thresholds, accept):
        return {}
    return {
        page["page"]: review.marks_of(page, accept) for page in pages if page.get("error") is None
    }


def is_away(error: Exception) -> bool:
    """Whether the database could have taken nothing at that time, whatever it was asked."""
    refused = isinstance(error, (DataError, IntegrityError))
    return isinstance(error, (DBAPIError, TimeoutError)) and not refused


def reason_of(error: Exception, url: URL) -> str:
    """What may be said of an error: the database's own words, but for the passwords of its URL."""
    if isinstance(error, DBAPIError):
        words = str(error.orig)
    elif isinstance(error, (CommandError, TimeoutError)):
        words = str(error)
    else:
        words = type(error).__name__
    secret = [url.password, *(url.query[name] for name in url.query if "password" in name)]
    for text in filter(None, secret):
        words = words.replace(str(text), "***")
    return " ".join(words.split())[:300]
