"""The `countersign` command against a stand-in, by what it prints and its exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from countersign.cli import main


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A folder to work in: b.JPG, a.png and nested/c.tiff of 3, 4 and 5 bytes, and a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nested").mkdir()
    (tmp_path / "b.JPG").write_bytes(b"123")
    (tmp_path / "a.png").write_bytes(b"1234")
    (tmp_path / "nested" / "c.tiff").write_bytes(b"12345")
    (tmp_path / "notes.txt").write_text("no page")
    return tmp_path


def run(fake, command, *arguments):
    return main([command, "--url", fake.url, "--protocol", fake.protocol, *map(str, arguments)])


def records(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def start(fake, *arguments, **streams):
    """The command in a process of its own; Ctrl-C stops it even where a job of `&` ignores that."""
    command = [
        sys.executable,
        "-c",
        "import signal, sys, countersign.cli as c; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(c.main())",
    ]
    server = ["--url", fake.url, "--protocol", fake.protocol]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *arguments, *server], **(pipes | streams))


def test_detect_prints_a_table(fake, pages, capsys):
    assert run(fake, "detect", "a.png") == 0
    assert capsys.readouterr().out == (
        "file   page  label      score      x0      y0      x1      y1\n"
        "a.png     1  signature  0.900    10.0    20.0   110.0    60.0\n"
        "a.png     1  stamp      0.400     5.5     6.5     7.5     8.5\n"
    )


def test_detect_prints_an_object_a_file_for_machines(fake, pages, capsys):
    assert run(fake, "detect", "--json", "a.png") == 0
    assert records(capsys) == [
        {
            "file": "a.png",
            "page": 1,
            "page_count": 1,
            "page_size": [4, 1],
            "detections": [
                {"label": "signature", "score": 0.9, "box": [10, 20, 110, 60]},
                {"label": "stamp", "score": 0.4, "box": [5.5, 6.5, 7.5, 8.5]},
            ],
        }
    ]


@pytest.mark.parametrize("options", [[], ["--model", "published"]])
def test_detect_asks_the_detector_that_is_named(fake, pages, options):
    assert run(fake, "detect", "a.png", *options) == 0
    assert fake.asked[0].model == ("published" if options else "document_detector")


def test_a_folder_gives_its_images_sorted_and_none_twice(fake, pages, capsys):
    assert run(fake, "detect", "--json", "b.JPG", ".", "a.png") == 0
    assert [record["file"] for record in records(capsys)] == ["b.JPG", "a.png", "nested/c.tiff"]
    assert sorted(asked.image for asked in fake.asked) == [b"123", b"1234", b"12345"]


def test_a_bad_file_stops_no_other_and_is_named(fake, pages, capsys):
    (pages / "b.JPG").write_bytes(b"bad")
    assert run(fake, "detect", ".") == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "countersign: notes.txt: skipped, no image",
        "countersign: b.JPG: image: 3 bytes, no image",
    ]
    assert "a.png" in printed.out
    assert "c.tiff" in printed.out


def test_a_bad_file_has_its_object_too(fake, pages, capsys):
    (pages / "a.png").write_bytes(b"bad")
    assert run(fake, "detect", "--json", "a.png", "b.JPG") == 1
    bad, good = records(capsys)
    assert bad == {"file": "a.png", "error": "image: 3 bytes, no image"}
    assert good["page_size"] == [3, 1]


def test_a_name_in_another_encoding_is_printed_escaped(fake, pages):
    with open(b"nested/\xff.png", "wb") as file:
        file.write(b"1")
    process = start(fake, "detect", "nested")
    table, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "\\udcff.png " in table


def test_no_name_of_a_file_reaches_the_terminal_as_it_is(fake, pages, capsys):
    """A line feed, a sequence that clears the screen, a mark that turns the text around."""
    names = ["a\nb.png", "c\x1b[2J.png", "d\u202egnp.png"]
    for name in names:
        (pages / "nested" / name).write_bytes(b"1")
    (pages / "nested" / "e\r.txt").touch()
    assert run(fake, "detect", "nested") == 0
    printed = capsys.readouterr()
    table = printed.out.splitlines()
    assert len(table) == 1 + 2 * 4
    assert len({len(line) for line in table}) == 1  # as wide as its heading
    for name in ("a\\nb.png", "c\\x1b[2J.png", "d\\u202egnp.png"):
        assert sum(line.startswith(f"nested/{name} ") for line in table) == 2
    assert printed.err == "countersign: nested/e\\r.txt: skipped, no image\n"
    assert run(fake, "detect", "--json", "nested") == 0
    files = [record["file"] for record in records(capsys)]
    assert files == sorted(f"nested/{name}" for name in [*names, "c.tiff"])


def test_what_gives_no_image_is_an_error_by_name(fake, pages, capsys):
    (pages / "empty").mkdir()
    assert run(fake, "detect", "--json", "empty", "gone.jpg", "a.png") == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "countersign: empty: no image in this folder "
        "(.jpg .jpeg .jfif .png .tif .tiff .webp .bmp .gif .pdf)",
        "countersign: gone.jpg: No such file or directory",
        "countersign: 2 not read, 0 skipped",
    ]
    files = [json.loads(line)["file"] for line in printed.out.splitlines()]
    assert files == ["empty", "gone.jpg", "a.png"]


def test_every_page_of_a_file_is_asked_about(fake, pages, capsys):
    (pages / "b.JPG").write_bytes(b"3 pages")
    assert run(fake, "detect", "--json", ".") == 0
    found = [(each["file"], each["page"], each["page_count"]) for each in records(capsys)]
    assert found == [
        ("a.png", 1, 1),
        ("b.JPG", 1, 3),
        ("b.JPG", 2, 3),
        ("b.JPG", 3, 3),
        ("nested/c.tiff", 1, 1),
    ]


def test_a_page_that_fails_is_named_and_stops_no_other(fake, pages, capsys):
    (pages / "b.JPG").write_bytes(b"3 pages")
    fake.script = ["", "refused"]
    assert run(fake, "detect", "--json", "--concurrency", "1", "b.JPG") == 1
    printed = capsys.readouterr()
    assert printed.err == "countersign: b.JPG, page 2: image: 3 bytes, no image\n"
    found = [json.loads(line) for line in printed.out.splitlines()]
    assert [each["page"] for each in found] == [1, 2, 3]
    assert found[1] == {"file": "b.JPG", "page": 2, "error": "image: 3 bytes, no image"}


def test_standard_input_is_a_file(fake, pages):
    process = start(fake, "detect", "--json", "-", stdin=subprocess.PIPE, text=False)
    printed, errors = process.communicate(b"3 pages")
    assert (process.returncode, errors) == (0, b"")
    found = [json.loads(line) for line in printed.splitlines()]
    assert [(each["file"], each["page"]) for each in found] == [("-", 1), ("-", 2), ("-", 3)]


def test_ctrl_c_ends_the_wait_for_standard_input(fake, pages):
    process = start(fake, "detect", "-", stdin=subprocess.PIPE)
    process.stdin.write("more than a pipe holds, so that it is being read" * 2**14)
    time.sleep(0.2)  # it reads the rest, and waits
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    with suppress(BrokenPipeError):
        process.stdin.close()
    assert process.stderr.read() == ""


def test_a_full_disk_is_one_line(fake, pages):
    with open("/dev/full", "w") as full:
        process = start(fake, "detect", "a.png", "b.JPG", stdout=full)
        _, errors = process.communicate()
    assert errors == "countersign: standard output: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ([], {}),
        (["--confidence", "0.25"], {"confidence": 0.25}),
        (
            ["--confidence", "stamp=0.5", "--confidence", "signature=0.25"],
            {"confidence_stamp": 0.5, "confidence_signature": 0.25},
        ),
    ],
)
def test_thresholds_are_sent_as_given(fake, pages, options, parameters):
    assert run(fake, "detect", "a.png", *options) == 0
    assert fake.asked[0].parameters == parameters


@pytest.mark.parametrize(
    "options",
    [
        ["--confidence", "1.5"],
        ["--confidence", "nan"],
        ["--confidence", "stamp="],
        ["--confidence", "0.5", "--confidence", "stamp=0.5"],
        ["--confidence", "0.5", "--confidence", "0.6"],
        ["--concurrency", "0"],
        ["--timeout", "0"],
        ["--header", "no value"],
    ],
)
def test_wrong_options_end_with_2_before_anything_is_sent(fake, pages, options, capsys):
    with pytest.raises(SystemExit) as ended:
        run(fake, "detect", "a.png", *options)
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err
    assert fake.asked == []


def test_a_wrong_address_ends_with_2_and_one_line(pages, capsys):
    assert main(["detect", "a.png", "--url", "ftp://127.0.0.1"]) == 2
    expected = "countersign: url: 'ftp://127.0.0.1', expected [grpc|grpcs|http|https://]HOST"
    assert capsys.readouterr().err.startswith(expected)


def test_the_protocol_may_stand_in_the_url(fake, pages):
    assert main(["detect", "a.png", "--url", f"{fake.protocol}://{fake.url}"]) == 0


def test_a_key_comes_from_a_file_and_is_never_printed(fake, pages, capsys):
    (pages / "key").write_text("secret-key\n")
    fake.script = ["restricted"]
    assert run(fake, "detect", "a.png", "--key-file", "key") == 1
    assert fake.asked[0].headers["authorization"] == "Bearer secret-key"
    (pages / "key").write_text("secret key")
    assert run(fake, "detect", "a.png", "--key-file", "key") == 2
    assert run(fake, "detect", "a.png", "--key-file", "gone") == 2
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    assert "key: no key, expected one word" in printed.err
    assert "gone" in printed.err


def test_the_address_may_come_from_the_environment(fake, pages, monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_URL", fake.url)
    assert main(["detect", "a.png", "--protocol", fake.protocol]) == 0
    assert len(fake.asked) == 1


def test_headers_and_certificates_can_be_given(encrypted, certificate, pages):
    tls = ["--ca", certificate.pem, "--cert", certificate.pem, "--cert-key", certificate.key]
    assert run(encrypted, "detect", "a.png", *tls, "--header", "x-secret=a=b") == 0
    assert encrypted.asked[0].headers["x-secret"] == "a=b"


def test_a_deadline_can_be_given(fake, pages, capsys):
    fake.script = ["stall"]
    assert run(fake, "detect", "a.png", "--timeout", "0.2") == 1
    assert capsys.readouterr().err == f"countersign: a.png: {fake.url}: no answer within 0.2 s\n"


def test_a_server_that_is_gone_is_said_once_and_asked_no_more(fake, pages, capsys):
    fake.script = ["unavailable"] * 99
    fake.hints = {"retry-after": "99"}  # after the deadline
    options = ["--json", "--concurrency", "1"]
    assert run(fake, "detect", *options, "a.png", "b.JPG", "nested") == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        f"countersign: a.png: {fake.url}: server is stopping",
        "countersign: 2 more not sent",
    ]
    files = [json.loads(line) for line in printed.out.splitlines()]
    assert [file["file"] for file in files] == ["a.png", "b.JPG", "nested/c.tiff"]
    assert {file["error"] for file in files} == {f"{fake.url}: server is stopping"}


def test_a_server_closed_to_this_client_is_said_once(fake, pages, capsys):
    fake.script = ["restricted"] * 99
    assert run(fake, "detect", "a.png", "b.JPG", "nested") == 1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_server_that_is_away_is_said_before_the_deadline(fake, pages, capsys):
    fake.script = ["unavailable"] * 5  # pauses of 0.05 to 1.6 s
    assert run(fake, "detect", "a.png") == 0
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"countersign: waiting: {fake.url}: server is stopping; next attempt")
    assert "signature" in printed.out


def test_read_prints_a_table(fake, pages, capsys):
    assert run(fake, "read", "a.png") == 0
    assert capsys.readouterr().out == "file   text       confidence\na.png  123456         0.8000\n"


def test_read_does_not_show_digits_that_are_not_certain(fake, pages, capsys):
    fake.certain = False
    assert run(fake, "read", "a.png") == 0
    assert capsys.readouterr().out.splitlines()[1] == "a.png  uncertain      0.8000"


def test_read_keeps_images_and_readings_if_asked(fake, pages, capsys):
    assert run(fake, "read", "a.png", "b.JPG", "--log", "log") == 0
    records = [json.loads(path.read_text()) for path in Path("log").glob("*.reading.json")]
    assert [record["text"] for record in records] == ["123456", "123456"]
    kept = {Path("log", record["file"]).read_bytes() for record in records}
    assert kept == {Path("a.png").read_bytes(), Path("b.JPG").read_bytes()}


def test_read_says_where_it_could_not_keep_a_reading(fake, pages, capsys):
    Path("log").write_text("a file")
    assert run(fake, "read", "a.png", "--log", "log") == 1
    printed = capsys.readouterr()
    assert "a.png: not kept in log: File exists" in printed.err
    assert "123456" in printed.out


@pytest.mark.parametrize(("threshold", "certain"), [("0.7", True), ("0.9", False)])
def test_read_takes_a_threshold_of_the_callers_own(fake, pages, capsys, threshold, certain):
    assert run(fake, "read", "a.png", "--json", "--min-confidence", threshold) == 0
    assert records(capsys) == [
        {
            "file": "a.png",
            "text": "123456",
            "confidence": 0.8,
            "digit_confidence": [0.99, 0.98, 0.97, 0.96, 0.95, 0.94],
            "certain": certain,
            "threshold": float(threshold),
        }
    ]


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """one/page.jpg and two/page.jpg, 90 x 60 pixels, and two/page.png."""
    monkeypatch.chdir(tmp_path)
    for name in ("one/page.jpg", "two/page.jpg", "two/page.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (90, 60), "white").save(tmp_path / name)
    return tmp_path


def test_annotate_draws_every_page_even_of_equal_names(fake, scans):
    assert run(fake, "detect", "one", "two", "--annotate", "drawn") == 0
    drawn = {str(path.relative_to(scans)) for path in scans.glob("drawn/**/*.*")}
    assert drawn == {"drawn/one/page.jpg", "drawn/two/page.jpg", "drawn/two/page.png.jpg"}
    assert Image.open(scans / "drawn/two/page.png.jpg").size == (90, 60)


def test_annotate_draws_every_page_of_a_file(scans, fake):
    pages = [Image.new("L", (90, 60 + number), "white") for number in range(3)]
    pages[0].save(scans / "3 pages.tif", save_all=True, append_images=pages[1:])
    content = (scans / "3 pages.tif").read_bytes()
    fake.page_counts[content] = 3
    assert run(fake, "detect", "3 pages.tif", "--annotate", "drawn") == 0
    drawn = {path.name: Image.open(path).size for path in scans.glob("drawn/*")}
    assert drawn == {f"3 pages.tif.{n + 1}.jpg": (90, 60 + n) for n in range(3)}


def test_annotate_does_not_hold_up_the_requests_that_follow(fake, tmp_path):
    """Of four, two at a time: while the first is drawn, the second is answered, the last sent."""
    pages = [tmp_path / f"{name}.png" for name in "abcd"]
    Image.new("RGB", (5000, 5000), "white").save(pages[0], compress_level=1)
    for page in pages[1:]:
        page.write_bytes(b"slow")  # the second is under way when the first is answered
    drawn = tmp_path / "drawn"
    assert run(fake, "detect", *pages, "--annotate", drawn, "--concurrency", "2") == 1
    assert fake.times[3] < (drawn / "a.png.jpg").stat().st_mtime


def test_annotate_keeps_pictures_of_like_names_apart(fake, scans):
    for name in ("a.png", "a.png.jpg"):
        Image.new("RGB", (90, 60), "white").save(scans / "one" / name)
    assert run(fake, "detect", "one", "--annotate", "drawn") == 0
    drawn = {path.name for path in scans.glob("drawn/*")}
    assert drawn == {"a.png.jpg", "a.png.jpg.jpg", "page.jpg"}


def test_annotate_needs_a_folder_that_it_can_write_before_it_asks(fake, scans, capsys):
    (scans / "file").touch()
    for folder, reason in {
        "file": "not a folder",
        "file/drawn": "not a folder",
        "/proc/drawn": "No such file or directory",
        "/proc": "No such file or directory",
    }.items():
        assert run(fake, "detect", "one", "--annotate", folder) == 2
        assert capsys.readouterr().err == f"countersign: --annotate: {folder}: {reason}\n"
    assert fake.asked == []


def test_annotate_never_replaces_a_page(fake, scans, capsys):
    before = (scans / "one/page.jpg").read_bytes()
    assert run(fake, "detect", "one", "--annotate", "one") == 2
    assert "--annotate: one/page.jpg is one of the pages" in capsys.readouterr().err
    assert (scans / "one/page.jpg").read_bytes() == before


def test_annotate_does_not_take_its_pictures_for_pages(fake, scans):
    assert run(fake, "detect", "two", "--annotate", "two/drawn") == 0
    assert run(fake, "detect", "two", "--annotate", "two/drawn") == 0
    assert len(fake.asked) == 4


def test_a_page_that_cannot_be_drawn_is_named(fake, pages, capsys):
    assert run(fake, "detect", "a.png", "--annotate", "drawn") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("countersign: a.png: not drawn: cannot identify image file")
    assert "signature" in printed.out


def test_ctrl_c_ends_quietly(fake, pages):
    fake.script = ["", "stall"]
    process = start(fake, "detect", "a.png", "b.JPG", "nested", "--concurrency", "1")
    process.stdout.readline()  # the heading: the first page is done
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "")


def test_a_reader_that_leaves_ends_it_quietly(fake, pages):
    fake.script = ["", "stall"]
    process = start(fake, "detect", "a.png", "b.JPG", "nested", "--concurrency", "1")
    process.stdout.readline()
    process.stdout.close()
    fake.release.set()
    assert process.stderr.read() == ""
    assert process.wait() == 141


def terminal_output(fake, *paths):
    """What a terminal on stderr shows."""
    ours, theirs = pty.openpty()
    process = start(fake, "detect", *paths, stderr=theirs)
    process.communicate()
    os.write(theirs, b"end")
    shown = b""
    while not shown.endswith(b"end"):
        shown += os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)
    return shown


def test_a_terminal_shows_progress_over_several_files(fake, pages):
    shown = terminal_output(fake, "a.png", "b.JPG", "nested")
    assert b"] 0/3" in shown
    assert b"[####################          ] 2/3" in shown
    assert shown.endswith(b"\r\x1b[Kend")  # taken away


def test_one_file_needs_no_progress(fake, pages):
    assert terminal_output(fake, "a.png") == b"end"


def test_help_does_not_wait_for_tritonclient():
    code = (
        "import sys, countersign.cli\n"
        "try: countersign.cli.main(['--help'])\n"
        "finally: print([name for name in sys.modules if 'triton' in name or 'grpc' in name])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.startswith("usage: countersign")
    assert printed.stdout.endswith("[]\n")
