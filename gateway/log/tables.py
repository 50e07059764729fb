"""What the log keeps: answers, their pages, and what people said of these pages.

A correction never changes an answer: it stands beside it, as the next version for that page.
"""

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Utc(TypeDecorator[datetime]):
    """A moment, with its time zone in Python, in UTC in the database (SQLite knows no zones)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value and value.astimezone(timezone.utc)
        return value.replace(tzinfo=timezone.utc)


class Table(DeclarativeBase):
    """All tables of the log, with names for what SQLite and PostgreSQL would name in two ways."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Prediction(Table):
    """One answer about one file."""

    __tablename__ = "predictions"
    __table_args__ = (Index(None, "sha256", "at"), Index(None, "at"))

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    at: Mapped[datetime] = mapped_column(Utc)  # when it was answered, by the gateway's clock
    sha256: Mapped[str] = mapped_column(String(64))  # of the file's bytes
    bytes: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(255))  # pdf, image
    page_count: Mapped[int] = mapped_column(Integer)  # of the file, not only of those answered
    model: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(255))
    operating_point: Mapped[str] = mapped_column(String(255))
    thresholds: Mapped[dict[str, float]] = mapped_column(Json)  # lowest score answered, by class
    accept: Mapped[dict[str, float]] = mapped_column(Json)  # the model's own, by class
    caller: Mapped[str] = mapped_column(String(255))
    milliseconds: Mapped[float] = mapped_column(Double)
    form: Mapped[str | None] = mapped_column(String(255))
    verdict: Mapped[str | None] = mapped_column(String(255))
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Json)  # the check, as it was answered


class Page(Table):
    """One page of an answer."""

    __tablename__ = "pages"

    prediction_id: Mapped[UUID] = mapped_column(
        ForeignKey(Prediction.id, ondelete="CASCADE"), primary_key=True
    )
    page: Mapped[int] = mapped_column(Integer, primary_key=True)  # from 1
    answer: Mapped[dict[str, Any]] = mapped_column(Json)  # as it was given, its error if it failed


class ToLookAt(Table):
    """A page that a person should look at, until it is corrected, and why (review.py)."""

    __tablename__ = "to_look_at"
    __table_args__ = (Index(None, "at", "sha256", "page"), Index(None, "prediction_id"))

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    page: Mapped[int] = mapped_column(Integer, primary_key=True)
    prediction_id: Mapped[UUID] = mapped_column(ForeignKey(Prediction.id, ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(Utc)  # of that answer, the newest with a reason
    near: Mapped[bool] = mapped_column(Boolean)
    disagreeing: Mapped[bool] = mapped_column(Boolean)
    random: Mapped[bool] = mapped_column(Boolean)


class Correction(Table):
    """What a person said that is on a page."""

    __tablename__ = "corrections"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    page: Mapped[int] = mapped_column(Integer, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)  # from 1; the highest holds
    at: Mapped[datetime] = mapped_column(Utc)
    caller: Mapped[str] = mapped_column(String(255))
    width: Mapped[int] = mapped_column(Integer)  # px of the page that the boxes are in
    height: Mapped[int] = mapped_column(Integer)
    classes: Mapped[list[str]] = mapped_column(Json)  # of which all marks are among the boxes
    boxes: Mapped[list[dict[str, Any]]] = mapped_column(Json)  # [{"class", "bbox"}]
