"""What the paths of a command line give: nothing is lost in silence."""

import os
import shutil
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from countersign.files import Pictures, Source, find

JPEG, PNG, TIFF = b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0"


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(found):
    return [source.name for source in found.sources]


def test_images_are_known_by_name_or_by_content(scans):
    for name, content in {
        "a.jfif": b"", "b.JPG": b"text", "c": PNG, "d.bin": TIFF, "e.dat": b"RIFF\0\0\0\0WEBP",
        "f.001": b"BM", "g.scan": JPEG, "h": b"GIF89a",
    }.items():  # fmt: skip
        (scans / name).write_bytes(content)
    found = find(["."], None)
    assert names(found) == ["a.jfif", "b.JPG", "c", "d.bin", "e.dat", "f.001", "g.scan", "h"]
    assert (found.unread, found.others) == ([], [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF-1.7", "a PDF file, not read"),
        ("a", b"%PDF-1.7", "a PDF file, not read"),
        ("a.heic", b"\0\0\0\x18ftypheic", "a HEIC or AVIF file, not read"),
        ("a.avif", b"\0\0\0\x1cftypavif", "a HEIC or AVIF file, not read"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 file, not read"),
        ("a.jxl", b"\xff\x0a\x7a", "a JPEG XL file, not read"),
        ("a.pdf", b"", "a .pdf file, not read"),
        ("a.PDF", b"\n\n%PDF-1.7", "a .pdf file, not read"),
        ("a", b"", "neither an image nor of a known kind"),
        ("a", b"some text", "neither an image nor of a known kind"),
    ],
)
def test_what_may_be_a_page_and_is_not_read_is_named(scans, name, content, reason):
    (scans / name).write_bytes(content)
    found = find(["."], None)
    ((unread, error),) = found.unread
    assert (unread, found.sources, found.others) == (name, [], [])
    assert str(error).startswith(reason)


def test_what_is_no_page_is_named_as_skipped(scans):
    (scans / "notes.txt").write_text("text")
    (scans / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (scans / "page.png").write_bytes(PNG)
    os.mkfifo(scans / "queue")
    found = find(["."], None)
    assert (names(found), found.unread) == (["page.png"], [])
    assert found.others == [".DS_Store", "notes.txt", "queue"]


def test_a_file_that_is_asked_for_is_sent_whatever_it_holds(scans):
    (scans / "notes.txt").write_text("text")
    assert names(find(["notes.txt"], None)) == ["notes.txt"]


def test_what_may_never_end_is_named_and_not_waited_for(scans):
    os.mkfifo(scans / "queue")
    (scans / "link.jpg").symlink_to("queue")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("bound")
        found = find(["queue", "link.jpg", "/dev/zero", "bound"], None)
    assert [(name, str(error)) for name, error in found.unread] == [
        ("queue", "a pipe, expected a file"),
        ("link.jpg", "a pipe, expected a file"),
        ("/dev/zero", "a device, expected a file"),
        ("bound", "a socket, expected a file"),
    ]
    assert (names(found), found.others) == ([], [])


def test_a_file_larger_than_any_image_is_named_and_not_read(scans):
    with (scans / "page.jpg").open("wb") as file:
        file.truncate(2**30 + 1)  # of holes
    found = find(["."], None)
    ((name, error),) = found.unread
    assert (name, str(error)) == ("page.jpg", "1073741825 bytes, limit 1073741824")


def test_linked_folders_are_searched_and_circles_end(scans):
    (scans / "inbox").mkdir()
    (scans / "inbox" / "b.png").write_bytes(PNG)
    (scans / "inbox" / "back").symlink_to("..")
    outside = scans / "elsewhere"
    outside.mkdir()
    (outside / "a.png").write_bytes(PNG)
    (scans / "inbox" / "archive").symlink_to(outside)
    found = find(["inbox"], None)
    assert names(found) == ["inbox/b.png", "inbox/archive/a.png"]
    assert found.unread == []


def test_a_link_that_leads_nowhere_is_named(scans):
    (scans / "page.png").write_bytes(PNG)
    (scans / "gone.jpg").symlink_to("nowhere.jpg")
    (scans / "loop").symlink_to("loop")
    found = find(["."], None)
    assert [(name, str(error)) for name, error in found.unread] == [
        ("gone.jpg", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
    ]
    assert names(found) == ["page.png"]


def test_a_folder_and_a_file_that_may_not_be_read_are_named():
    folder = Path(tempfile.mkdtemp())  # not pytest's, which is closed to others
    (folder / "closed").mkdir(0o700)
    (folder / "page.png").write_bytes(PNG)
    (folder / "secret.jpg").touch(0o600)
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        else:
            (folder / "closed").chmod(0)
            (folder / "secret.jpg").chmod(0)
        found = find([str(folder)], None)
    finally:
        if root:
            os.seteuid(0)
        (folder / "closed").chmod(0o700)
        shutil.rmtree(folder)
    assert names(found) == [f"{folder}/page.png"]
    assert [(name, str(error)) for name, error in found.unread] == [
        (f"{folder}/closed", "Permission denied"),
        (f"{folder}/secret.jpg", "Permission denied"),
    ]


def test_the_folder_of_pictures_is_not_searched_inside_another(scans):
    (scans / "drawn").mkdir()
    (scans / "drawn" / "a.jpg").write_bytes(JPEG)
    (scans / "a.jpg").write_bytes(JPEG)
    assert names(find(["."], scans / "drawn")) == ["a.jpg"]
    assert names(find(["drawn"], scans / "drawn")) == ["drawn/a.jpg"]


@pytest.mark.parametrize("order", [["a.png", "a.png.jpg"], ["a.png.jpg", "a.png"]])
def test_pictures_of_like_names_do_not_meet(tmp_path, order):
    sources = [Source(str(tmp_path / name), b"") for name in order]
    pictures = Pictures(tmp_path / "drawn", sources)
    paths = [pictures.path(source, 1, 1) for source in sources]
    paths += [pictures.path(sources[0], page, 2) for page in (1, 2)]
    assert len(set(paths)) == 4
    assert {path.suffix for path in paths} == {".jpg"}


def test_standard_input_that_cannot_be_read_is_named(scans, monkeypatch):
    with open(os.open("out", os.O_WRONLY | os.O_CREAT), "rb") as wrong_way:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=wrong_way))
        found = find(["-"], None)
    assert [(name, str(error)) for name, error in found.unread] == [("-", "Bad file descriptor")]


def test_a_closed_standard_input_is_named(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)  # as Python has it then
    found = find(["-"], None)
    ((name, error),) = found.unread
    assert (name, str(error), found.sources) == ("-", "standard input is closed", [])
