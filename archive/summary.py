"""What an archive's rows say of it, at the end of a run."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archive.store import Store

SHOWN = ["margin", "key", "page", "width", "height", "boxes", "scores", "labels", "operating_point"]
REASONS = 10  # that are printed


@dataclass
class Summary:
    """Counts over all that is written, of this run and those before."""

    files: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)  # of a form, by files
    contents: int = 0  # files that differ
    pages: int = 0
    marked: int = 0  # pages with a mark
    marks: Counter[str] = field(default_factory=Counter)  # by class
    errors: Counter[str] = field(default_factory=Counter)  # pages by reason, without its values


def summary(store: Store) -> Summary:
    """Reads the columns that it needs, a batch at a time."""
    counts = Summary()
    contents: set[bytes] = set()
    for batch in _batches(store, "files", ["sha256", "verdict"]):
        counts.files += len(batch)
        contents.update(map(bytes.fromhex, batch["sha256"].to_pylist()))
        counts.verdicts += _counted(batch["verdict"])
    counts.contents = len(contents)
    for batch in _batches(store, "pages", ["page", "labels", "error"]):
        counts.pages += pc.sum(pc.greater(batch["page"], 0)).as_py() or 0
        counts.marked += pc.sum(pc.greater(pc.list_value_length(batch["labels"]), 0)).as_py() or 0
        counts.marks += _counted(pc.list_flatten(batch["labels"]))
        for error, times in _counted(batch["error"]).items():
            counts.errors[reason(error)] += times
    return counts


def lowest_margins(store: Store, most: int) -> list[dict[str, Any]]:
    """The pages whose marks come nearest to their accept thresholds, SHOWN, the nearest first."""
    lowest: pa.Table | None = None
    for batch in _batches(store, "pages", SHOWN):
        table = pa.Table.from_batches([batch]).filter(pc.is_valid(batch["margin"]))
        table = pa.concat_tables([lowest, table]) if lowest is not None else table
        lowest = table.take(pc.select_k_unstable(table, most, [("margin", "ascending")]))
    return lowest.to_pylist() if lowest is not None else []


def reason(error: str) -> str:
    """An error without the values in it, so that those of one kind count together."""
    error = re.sub(r"""b?'[^']*'(\.\.\.)?|b"[^"]*"(\.\.\.)?""", "…", error)
    return re.sub(r"\d+(\.\d+)?", "N", error)


def _batches(store: Store, kind: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    found = store.dataset(kind)
    yield from found.to_batches(columns=columns) if found is not None else ()


def _counted(values: pa.Array) -> Counter[str]:
    return Counter(
        {
            each["values"]: each["counts"]
            for each in pc.value_counts(values).to_pylist()
            if each["values"] is not None
        }
    )
