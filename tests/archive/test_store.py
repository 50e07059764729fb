"""Where the rows go: whole, once, and known again."""

from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archive.rows import ANSWERS
from archive.sources import LISTED, SourceError
from archive.store import Store
from archive.summary import lowest_margins, reason, summary

AT = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


def file(key: str, digest: str, *pages: dict, size: int = 10) -> dict:
    """A file's row, of pages numbered from 1 if they do not say."""
    listed = [{"page": i, **page} for i, page in enumerate(pages, 1)]
    return {"key": key, "bytes": size, "modified": AT, "sha256": digest * 64, "pages": listed}


def marked(*marks: tuple[str, float], margin: float) -> dict:
    labels, scores = zip(*marks, strict=True)
    boxes = [[1, 2, 3, 4]] * len(marks)
    return {"labels": labels, "scores": scores, "boxes": boxes, "margin": margin}


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ANSWERS)


def listed(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(
        [{name: row[name] for name in LISTED.names} for row in rows], LISTED
    )


def test_a_content_is_written_once_under_whatever_name(tmp_path):
    store = Store(str(tmp_path / "out"))
    store.write(table(file("a", "1", {}, {}), file("b", "2", {}), file("copy of a", "1", {}, {})))
    Store(str(tmp_path / "out")).write(table(file("later copy", "2", {}), file("c", "3", {})))
    pages = store.table("pages", ["sha256", "key", "page"]).to_pylist()
    assert sorted((row["sha256"][0], row["key"], row["page"]) for row in pages) == [
        ("1", "a", 1), ("1", "a", 2), ("2", "b", 1), ("3", "c", 1),
    ]  # fmt: skip
    keys = store.table("files", ["key"])["key"].to_pylist()
    assert sorted(keys) == ["a", "b", "c", "copy of a", "later copy"]


def test_what_is_done_and_has_not_changed_is_not_missing(tmp_path):
    done, changed, new = file("done", "1", {}), file("changed", "2", {}), file("new", "3", {})
    store = Store(str(tmp_path / "out"))
    assert store.missing(listed(done, new)).num_rows == 2
    store.write(table(done, changed))
    now = listed(done, {**changed, "bytes": 11}, new)
    assert store.missing(now)["key"].to_pylist() == ["changed", "new"]


def test_a_run_that_ended_between_the_two_parts_doubles_nothing(tmp_path):
    out = tmp_path / "out"
    store = Store(str(out))
    store.write(table(file("a", "1", {})))
    (part,) = (out / "files").iterdir()
    part.unlink()
    (out / "pages" / ".half-written.parquet.half").write_bytes(b"PAR1")
    again = Store(str(out))
    assert again.missing(listed(file("a", "1", {})))["key"].to_pylist() == ["a"]
    again.write(table(file("a", "1", {})))
    assert again.table("pages", ["key"]).num_rows == 1
    assert again.table("files", ["key"]).num_rows == 1


def test_parts_are_parquet_that_others_read(tmp_path):
    store = Store(str(tmp_path / "out"))
    store.write(table(file("a", "1", marked(("stamp", 0.5), margin=0.25))))
    (part,) = (tmp_path / "out" / "pages").iterdir()
    (row,) = pq.read_table(part).to_pylist()
    assert (row["key"], row["boxes"], row["labels"]) == ("a", [[1, 2, 3, 4]], ["stamp"])


def test_rows_of_other_settings_are_not_mixed(tmp_path):
    store = Store(str(tmp_path / "out"))
    store.settle({"version": 5, "dpi": 100})
    store.settle({"version": 5, "dpi": 100})
    with pytest.raises(SourceError, match=r"out: made with version 5, now 6; choose another"):
        store.settle({"version": 6, "dpi": 100})


def test_counts_and_what_to_look_at(tmp_path):
    store = Store(str(tmp_path / "out"))
    assert lowest_margins(store, 3) == []
    sure = marked(("signature", 0.99), ("stamp", 0.95), margin=0.2)
    near = marked(("signature", 0.8), margin=0.01)
    store.write(table(file("a", "1", sure, {"labels": []}), file("b", "2", {"error": "b'xx', 7"})))
    store.write(table(file("c", "3", near), file("d", "3", near)))
    found = summary(store)
    assert (found.files, found.contents, found.pages, found.marked) == (4, 3, 4, 2)
    assert found.marks == {"signature": 2, "stamp": 1}
    assert found.errors == {"…, N": 1}
    assert [row["key"] for row in lowest_margins(store, 1)] == ["c"]
    assert [row["key"] for row in lowest_margins(store, 9)] == ["c", "a"]


def test_errors_of_one_kind_count_together():
    first = "image: 3000 bytes of JPEG, begins b'\\xff\\xd8'..., 1.5 s"
    assert reason(first) == "image: N bytes of JPEG, begins …, N s"
