"""The prediction log: what was answered about which file, and what people said of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, or_, select, tuple_
from sqlalchemy.exc import DBAPIError, IntegrityError, TimeoutError
from sqlalchemy.orm import Session, aliased

from gateway.log.database import engine_of, parsed, shown, writing
from gateway.log.entry import LONGEST, Entry, now, storable
from gateway.log.review import RANDOM_SHARE
from gateway.log.store import Store
from gateway.log.tables import Correction, Page, Prediction, ToLookAt
from gateway.log.writer import GATHER_S, MOST_BYTES, MOST_ROWS, Writer

READERS = 4  # connections for questions; the writer has one of its own
WHY = ("near", "disagreeing", "random")
EXPORTED = 200  # corrections that one query of an export reads

Json = dict[str, Any]


class LogDown(Exception):
    """The log cannot be read or written now; the text says why, without its address."""


class UnknownPage(Exception):
    """No such page was ever answered."""


class WrongBoxes(Exception):
    """Boxes that no page of that size has, or of a class that its model does not know."""


class Superseded(Exception):
    """Somebody stored another correction meanwhile."""

    def __init__(self, version: int):
        super().__init__(f"version {version} of this page's correction is there")
        self.version = version


class PredictionLog:
    """The log at a database's URL, with a `store` of the files or none, for any number of threads.

    There at once, whether the database is there or not. Keeps answers for ever unless `keep` says
    how long. ValueError, which does not repeat the URL, if it is none.
    """

    def __init__(
        self,
        url: str,
        store: Store | None = None,
        keep: timedelta | None = None,
        random_share: float = RANDOM_SHARE,
        most_rows: int = MOST_ROWS,
        most_bytes: int = MOST_BYTES,
        gather_s: float = GATHER_S,
    ):
        address = parsed(url)
        self.store = store
        self._engine = engine_of(address, READERS)
        self._writer = Writer(
            engine_of(address, 1), store, keep, random_share, most_rows, most_bytes, gather_s
        )

    def put(self, entry: Entry) -> None:
        """Logs an answer; takes microseconds, whatever becomes of it."""
        self._writer.put(entry)

    def close(self, timeout_s: float) -> None:
        """Writes what waits, for so long at most; questions are answered no more."""
        self._writer.close(timeout_s)
        self._engine.dispose()

    def find(self, digest: str, limit: int = 20, skip: int = 0) -> Json:
        """All that is known of the file with that SHA-256, the newest first.

        "stored", "total", "predictions" and "corrections". Raises LogDown.
        """
        of_file = Prediction.sha256 == digest
        with self._reading() as session:
            total = session.scalar(select(func.count()).select_from(Prediction).where(of_file))
            newest = select(Prediction).where(of_file).order_by(Prediction.at.desc(), Prediction.id)
            predictions = session.scalars(newest.limit(limit).offset(skip)).all()
            ids = [prediction.id for prediction in predictions]
            pages: dict[Any, list[Json]] = {}
            rows = select(Page).where(Page.prediction_id.in_(ids)).order_by(Page.page)
            for page in session.scalars(rows):
                pages.setdefault(page.prediction_id, []).append(page.answer)
            corrections = session.scalars(
                select(Correction)
                .where(Correction.sha256 == digest)
                .order_by(Correction.page, Correction.version.desc())
            ).all()
        return {
            "sha256": digest,
            "stored": self.stores(digest),
            "total": total,
            "predictions": [_prediction(one, pages.get(one.id, [])) for one in predictions],
            "corrections": [_correction(one) for one in corrections],
        }

    def queue(self, why: str | None = None, limit: int = 50, after: str | None = None) -> Json:
        """Pages that a person should look at and nobody has corrected, the newest answers first.

        Each page once, as it was last answered with a reason to look at it (review.py); `why` asks
        for one reason. "total" counts them, "next" is the `after` of the pages behind these, None
        at the end. Raises LogDown; ValueError for an `after` that is none.
        """
        wanted = [getattr(ToLookAt, why)] if why else []
        of_page = and_(Page.prediction_id == ToLookAt.prediction_id, Page.page == ToLookAt.page)
        found = (
            select(ToLookAt, Page, Prediction)
            .join(Page, of_page)
            .join(Prediction, Prediction.id == ToLookAt.prediction_id)
            .where(*wanted, *([] if after is None else [_behind(after)]))
            .order_by(ToLookAt.at.desc(), ToLookAt.sha256, ToLookAt.page)
            .limit(limit + 1)
        )
        with self._reading() as session:
            total = session.scalar(select(func.count()).select_from(ToLookAt).where(*wanted))
            rows = session.execute(found).all()
        return {
            "total": total,
            "next": _cursor(rows[limit - 1][0]) if len(rows) > limit else None,
            "pages": [
                _to_look_at(*row) | {"stored": self.stores(row[0].sha256)} for row in rows[:limit]
            ],
        }

    def correct(
        self,
        digest: str,
        page: int,
        size: tuple[int, int],
        boxes: Sequence[Mapping[str, Any]],
        caller: str,
        replaces: int | None = None,
    ) -> Json:
        """Add a correction: all marks of a page ("class", "bbox"), in pixels of a page of `size`.

        It becomes the next version, if `replaces` is the last one (0 for none) or left out. Raises
        UnknownPage, WrongBoxes, Superseded, LogDown.
        """
        known = (
            select(Prediction.accept)
            .join(Page)
            .where(Prediction.sha256 == digest, Page.page == page)
            .order_by(Prediction.at.desc())
            .limit(1)
        )
        last = select(func.max(Correction.version)).where(
            Correction.sha256 == digest, Correction.page == page
        )
        with self._or_down(), writing(self._engine) as connection:
            accept = connection.scalar(known)
            if accept is None:
                raise UnknownPage(f"page {page} of this file was never answered")
            check_boxes(boxes, size, sorted(accept))
            version = (connection.scalar(last) or 0) + 1
            if replaces is not None and replaces != version - 1:
                raise Superseded(version - 1)
            row = {
                "sha256": digest,
                "page": page,
                "version": version,
                "at": now(),
                "caller": storable(caller)[:LONGEST],
                "width": size[0],
                "height": size[1],
                "classes": sorted(accept),
                "boxes": [{"class": box["class"], "bbox": list(box["bbox"])} for box in boxes],
            }
            try:
                connection.execute(insert(Correction), row)
            except IntegrityError:  # another gateway was quicker
                raise Superseded(version) from None
            of_page = (ToLookAt.sha256 == digest, ToLookAt.page == page)
            connection.execute(delete(ToLookAt).where(*of_page))
        return {"sha256": digest} | _correction(Correction(**row))

    def corrected(self) -> Iterator[Json]:
        """The newest correction of each page, with "classes", by file and page. Raises LogDown."""
        key = (Correction.sha256, Correction.page)
        newer = aliased(Correction)
        superseded = exists().where(
            newer.sha256 == Correction.sha256,
            newer.page == Correction.page,
            newer.version > Correction.version,
        )
        newest = select(Correction).where(~superseded).order_by(*key).limit(EXPORTED)
        behind = ("", 0)
        while True:
            with self._reading() as session:
                rows = session.scalars(newest.where(tuple_(*key) > behind)).all()
            for row in rows:
                yield {"sha256": row.sha256, "classes": row.classes} | _correction(row)
            if len(rows) < EXPORTED:
                return
            behind = rows[-1].sha256, rows[-1].page

    def stores(self, digest: str) -> bool:
        """Whether the file with that SHA-256 is stored."""
        return self.store is not None and self.store.has(digest)

    def content(self, digest: str) -> bytes | None:
        """The bytes of the file with that SHA-256, None if it is not stored."""
        return self.store.get(digest) if self.store else None

    def collect(self) -> Iterator[Metric]:
        """What Prometheus shows of the log: it can be registered."""
        writer, counts, deleted = self._writer, self._writer.counts, self._writer.deleted
        for name, help_, value in (
            ("up", "Whether the log's database took what it was last given", writer.up),
            ("waiting_answers", "Answers that are not written yet", len(writer.entries)),
            ("waiting_files", "Files that are not stored yet", len(writer.files)),
            ("waiting_file_bytes", "Bytes of these files", writer.files.size),
        ):
            yield GaugeMetricFamily(f"gateway_log_{name}", help_, value=value)
        for name, help_, values in (
            (
                "answers",
                "Answers by what became of them",
                {"written": counts.written, "dropped": counts.dropped, "refused": counts.refused},
            ),
            (
                "files",
                "Files by what became of them",
                {"stored": counts.stored, "not_stored": counts.not_stored},
            ),
            ("tries", "Tries to write by how they ended", {"failed": counts.failed}),
            (
                "deleted",
                "What was deleted for its age",
                {
                    "answers": deleted.predictions,
                    "corrections": deleted.corrections,
                    "files": deleted.files,
                },
            ),
        ):
            family = CounterMetricFamily(f"gateway_log_{name}", help_, labels=["outcome"])
            for label, count in values.items():
                family.add_metric([label], count)
            yield family

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with self._or_down(), Session(self._engine) as session:
            yield session

    @contextmanager
    def _or_down(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, TimeoutError) as error:
            raise LogDown(f"{shown(self._engine.url)}: {type(error).__name__}") from None


def check_boxes(
    boxes: Sequence[Mapping[str, Any]], size: tuple[int, int], classes: Sequence[str]
) -> None:
    """Raises WrongBoxes, which names the box, what it has, and the limit."""
    width, height = size
    for number, box in enumerate(boxes):
        if box["class"] not in classes:
            known = ", ".join(classes) or "none"
            raise WrongBoxes(f"detections[{number}].class: {box['class']!r}, known are {known}")
        x0, y0, x1, y1 = box["bbox"]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):  # refuses NaN as well
            raise WrongBoxes(
                f"detections[{number}].bbox: {x0:g}, {y0:g}, {x1:g}, {y1:g}, limit 0 <= x0 < x1 <= "
                f"{width}, 0 <= y0 < y1 <= {height}"
            )


def _cursor(last: ToLookAt) -> str:
    return f"{last.at:%Y%m%dT%H%M%S.%f}-{last.sha256}-{last.page}"


def _behind(cursor: str) -> ColumnElement[bool]:
    """Of the pages that come after this one in the queue. ValueError if it is no cursor."""
    try:
        moment, digest, number = cursor.split("-")
        at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc)
        page = int(number)
    except ValueError:
        raise ValueError(f"after: {cursor[:100]!r}, expected the `next` of an answer") from None
    behind = tuple_(ToLookAt.sha256, ToLookAt.page) > (digest, page)
    return or_(ToLookAt.at < at, and_(ToLookAt.at == at, behind))


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _prediction(prediction: Prediction, pages: list[Json]) -> Json:
    return {
        "id": str(prediction.id),
        "time": _time(prediction.at),
        "caller": prediction.caller,
        "milliseconds": prediction.milliseconds,
        "sha256": prediction.sha256,
        "bytes": prediction.bytes,
        "kind": prediction.kind,
        "page_count": prediction.page_count,
        "model": {"name": prediction.model, "version": prediction.version},
        "operating_point": prediction.operating_point,
        "thresholds": prediction.thresholds,
        "check": prediction.outcome,
        "pages": pages,
    }


def _to_look_at(found: ToLookAt, page: Page, prediction: Prediction) -> Json:
    return {
        "sha256": found.sha256,
        "page": found.page,
        "why": [name for name in WHY if getattr(found, name)],
        "time": _time(prediction.at),
        "model": {"name": prediction.model, "version": prediction.version},
        "width": page.answer["width"],
        "height": page.answer["height"],
        "detections": page.answer["detections"],
    }


def _correction(correction: Correction) -> Json:
    return {
        "page": correction.page,
        "version": correction.version,
        "time": _time(correction.at),
        "caller": correction.caller,
        "width": correction.width,
        "height": correction.height,
        "detections": correction.boxes,
    }
