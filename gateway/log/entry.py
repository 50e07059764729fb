"""What is put into the log, and the rows that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import UUID, uuid4

LONGEST = 255  # characters of a name in the log; longer ones are cut


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Entry:
    """An answer about a file. `document` is its JSON, and must not be changed afterwards.

    `thresholds` are the lowest scores that were answered and `accept` the model's own at that
    operating point, both by class. `check` is a form's, as it was answered: "form", "verdict",
    "zones". `content` are the file's bytes, to be stored if there is a store.
    """

    document: Mapping[str, Any] = field(repr=False)
    caller: str
    milliseconds: float
    thresholds: Mapping[str, float] = field(default_factory=dict)
    accept: Mapping[str, float] = field(default_factory=dict)
    check: Mapping[str, Any] | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    at: datetime = field(default_factory=now)
    id: UUID = field(default_factory=uuid4)

    @property
    def rows(self) -> int:
        """How many pages and marks it has, and one: what it takes of memory, in some 500 bytes."""
        pages = self.document["pages"]
        return 1 + len(pages) + sum(len(page.get("detections", ())) for page in pages)

    @property
    def bytes(self) -> int:
        """Of the file, if it is to be stored."""
        return len(self.content or b"")


def prediction_row(entry: Entry) -> dict[str, Any]:
    """The columns of tables.Prediction. Raises KeyError, TypeError or ValueError for no answer."""
    document, check = entry.document, entry.check or {}
    return {
        "id": entry.id,
        "at": entry.at,
        "sha256": str(document["sha256"]),
        "bytes": int(document["bytes"]),
        "kind": _cut(document["kind"]),
        "page_count": int(document["page_count"]),
        "model": _cut(document["model"]["name"]),
        "version": _cut(document["model"]["version"]),
        "operating_point": _cut(document.get("operating_point") or ""),
        "thresholds": dict(entry.thresholds),
        "accept": dict(entry.accept),
        "caller": _cut(entry.caller),
        "milliseconds": float(entry.milliseconds),
        "form": _cut(check["form"]) if "form" in check else None,
        "verdict": _cut(check["verdict"]) if "verdict" in check else None,
        "outcome": storable(entry.check),
    }


def storable(value: Any) -> Any:
    """JSON without what PostgreSQL takes in no text: NUL and half surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(key): storable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable(one) for one in value]
    return value


def _cut(text: Any) -> str:
    return storable(str(text))[:LONGEST]
