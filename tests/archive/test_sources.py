"""What a source has, and how its files are read."""

import os
from hashlib import sha256

import pytest

from archive.run import blocks
from archive.sources import SourceError, listing, located, place, read


def test_a_folder_has_its_pages_and_not_what_is_hidden_or_of_another_kind(tmp_path):
    for name in ("b.PDF", "a/deep/page.tif", "a/scan", ".hidden.jpg", "notes.txt", "t.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    os.utime(tmp_path / "b.PDF", (1, 1_000_000.5))
    found = listing(str(tmp_path))
    assert found.files["key"].to_pylist() == ["a/deep/page.tif", "a/scan", "b.PDF"]
    assert found.files["bytes"].to_pylist() == [15, 6, 5]
    assert found.files["modified"][2].as_py().timestamp() == 1_000_000.5
    assert found.skipped == 3


def test_a_list_names_files_beside_it_and_elsewhere(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "one.jpg").write_bytes(b"1")
    (tmp_path / "two #2?.jpg").write_bytes(b"22")
    absolute, url = tmp_path / "two #2?.jpg", f"file://{tmp_path}/lists/one.jpg"
    lines = ["one.jpg", "", "# old ones", str(absolute), url, "gone.jpg", "one.jpg"]
    (tmp_path / "lists" / "all.txt").write_text("\n".join(lines))
    found = listing(str(tmp_path / "lists" / "all.txt"))
    assert found.files["key"].to_pylist() == sorted(["one.jpg", str(absolute), url])
    assert found.absent == {"gone.jpg": "no such file"}
    for key, content in (("one.jpg", b"1"), (str(absolute), b"22"), (url, b"1")):
        assert read(found.base, key, 10).data == content


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere", "nowhere: not there"),
        ("page.jpg", "page.jpg: one file; expected a folder, or a list of files"),
        ("latin", "latin: no list of files, a path a line"),
        ("ftp://host/folder", "ftp://host: "),
    ],
)
def test_what_is_no_source_is_said_to_be_none(tmp_path, monkeypatch, source, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.jpg").write_bytes(b"x")
    (tmp_path / "latin").write_bytes("Verträge".encode("latin-1"))
    with pytest.raises(SourceError, match=why):
        listing(source)


def test_more_than_is_held_has_a_digest_alone(tmp_path):
    (tmp_path / "large").write_bytes(bytes(3 * 2**20))
    content = read(str(tmp_path), "large", 2**20)
    assert (content.length, content.data) == (3 * 2**20, None)
    assert content.sha256 == sha256(bytes(3 * 2**20)).hexdigest()


def test_names_in_object_storage_may_have_any_sign():
    base = "s3://bank/scans?region=eu-central-1&endpoint_override=127.0.0.1:9"
    assert place(base, "2024/50% of #1?.pdf")[1] == "bank/scans/2024/50% of #1?.pdf"
    assert located("s3://bank?region=eu-central-1&endpoint_override=127.0.0.1:9")[1] == "bank"


def test_blocks_are_of_like_work(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.pdf").write_bytes(b"x")
    files = listing(str(tmp_path)).files
    sizes = [block.num_rows for block in blocks(files, 2, alone=False)]
    assert (sum(sizes), set(sizes)) == (40, {2})
    assert [block.num_rows for block in blocks(files, 2, alone=True)] == [1] * 40
