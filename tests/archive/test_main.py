"""The command: what it refuses, and what it says at the end. tests/archive/test_run.py has Ray."""

import re
import shutil
from pathlib import Path

import pytest

from archive.__main__ import duration, main
from archive.looking import Settings, model_of
from archive.sources import listing
from archive.store import Store
from archive.worker import Worker


@pytest.fixture
def done(samples: Path, tmp_path: Path) -> Path:
    """A folder with `scans`, and with `rows` that a run before wrote."""
    (tmp_path / "scans").mkdir()
    shutil.copy(samples / "page_150dpi.jpg", tmp_path / "scans")
    (tmp_path / "scans" / "<b>.pdf").write_bytes(b"hello")
    (tmp_path / "scans" / "notes.txt").write_bytes(b"hello")
    settings = Settings(str(tmp_path / "scans"), "accept")
    model = model_of(settings)
    store = Store(str(tmp_path / "rows"))
    store.settle(
        {"model": model.name, "version": model.version, "operating_point": "accept"}
        | {"dpi": 100, "form": None}
    )
    store.write(Worker(settings, model)(listing(settings.base).files))
    return tmp_path


def test_what_is_done_is_counted_and_not_done_again(done, capsys):
    assert main([str(done / "scans"), str(done / "rows")]) == 0
    told = capsys.readouterr()
    assert "2 files, 0 to do; 1 are no pages by name" in told.err
    lines = told.out.splitlines()
    assert lines[1] == f"{done}/rows has 1 pages of 2 files, 2 of them different"
    assert re.fullmatch(r"  1 pages with marks, signature \d, stamp \d", lines[2])
    assert lines[3] == "  1 pages or files that cannot be looked at:"
    assert re.fullmatch(r" +1  document: N bytes, begins …, expected a PDF.*", lines[4])
    assert lines[5] == f"to look at: {done}/rows/sheet.html"
    sheet = (done / "rows" / "sheet.html").read_text()
    assert sheet.count("<figure>") == 1
    assert "page_150dpi.jpg" in sheet
    assert 'href="data:image/jpeg;base64,/9j/' in sheet
    assert sheet.count("<rect ") == sum(map(int, re.findall(r" \d", lines[2])[1:]))


def test_a_file_that_a_list_names_and_is_not_there_is_for_the_next_run(done, capsys):
    lines = [f"{done}/scans/gone.pdf", f"{done}/scans/gone too.pdf"]
    (done / "list.txt").write_text("\n".join(lines))
    assert main([str(done / "list.txt"), str(done / "rows")]) == 1
    told = capsys.readouterr().out
    assert "not reached: 2 files; run it again\n         2  no such file\n" in told


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["nowhere", "rows"], "nowhere: not there"),
        (["scans", "rows", "--workers", "0"], "--workers: 0, limit 1 or more"),
        (["scans", "rows", "--operating-point", "review"], "made with operating_point 'accept'"),
        (["scans", "rows", "--check", "gone.yaml"], "gone.yaml: No such file"),
        (["scans", "rows", "--repository", "gone"], "gone: no document_detector"),
    ],
)
def test_what_cannot_be_begun_says_why(done, monkeypatch, capsys, more, why):
    monkeypatch.chdir(done)
    assert main(more) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "7 s"), (300, "5 min"), (12_000, "3 h 20 min"), (1_051_200, "12 d 4 h")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
