"""How long the log keeps what it knows."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection, Select, delete, exists, select

from gateway.log.tables import Correction, Page, Prediction, ToLookAt

UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
PERIOD = re.compile(r"(\d{1,6})([hd])")
CHUNK = 500  # answers that one transaction deletes
EVERY_S = 3600
JUMP_S = 3600  # of the clock, against the time since the machine's start


def period(text: str) -> timedelta:
    """What 90d or 12h stands for. ValueError if it is neither, or nothing at all."""
    parts = PERIOD.fullmatch(text)
    if not parts or not int(parts[1]):
        raise ValueError(f"retention: {text!r}, expected days or hours, as in 90d or 12h")
    return int(parts[1]) * UNITS[parts[2]]


@dataclass
class Deleted:
    """What was deleted."""

    predictions: int = 0
    corrections: int = 0
    files: int = 0
    bytes: int = 0


class Clock:
    """Knows the time, and whether the machine's clock was set by more than JUMP_S meanwhile."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        running: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ):
        self._wall, self._running = wall, running
        self._offset = wall() - running()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), timezone.utc)

    def jumped(self) -> bool:
        return abs(self._wall() - self._running() - self._offset) > JUMP_S


def delete_answers(connection: Connection, before: datetime) -> Deleted:
    """Delete up to CHUNK answers from before a moment, and the corrections of files that then have
    none.
    """
    old: Select = select(Prediction.id, Prediction.sha256).where(Prediction.at < before)
    found = connection.execute(old.order_by(Prediction.at).limit(CHUNK)).all()
    ids, digests = [row.id for row in found], {row.sha256 for row in found}
    connection.execute(delete(ToLookAt).where(ToLookAt.prediction_id.in_(ids)))
    connection.execute(delete(Page).where(Page.prediction_id.in_(ids)))
    gone = connection.execute(delete(Prediction).where(Prediction.id.in_(ids)))
    orphaned = connection.execute(
        delete(Correction).where(
            Correction.sha256.in_(digests),
            ~exists().where(Prediction.sha256 == Correction.sha256),
        )
    )
    return Deleted(gone.rowcount, orphaned.rowcount)
