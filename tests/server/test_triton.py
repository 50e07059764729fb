"""A real tritonserver, started and stopped; and each reason why it cannot start."""

import errno
import io
import shutil
import socket
import sys
import tempfile
from types import SimpleNamespace

import pytest

from countersign import Client
from server import ServerError, Settings, Triton
from server.folder import check_shm, no_folder
from server.log import Log, say, warn
from server.memory import shm_least_mib, shm_start_mib
from tests.server.conftest import leftovers, processes_of

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def test_starts_and_stops_leave_nothing_behind(captcha_repository, tmp_path):
    """And a step that has something to do at its end gets to do it."""
    repository, done = shutil.copytree(captcha_repository, tmp_path / "models"), tmp_path / "done"
    step = repository / "captcha_postprocess" / "1" / "model.py"
    for end in ("", f"\n    def finalize(self):\n        open({str(done)!r}, 'w').close()\n"):
        step.write_text(step.read_text() + end)
        with Triton(Settings(repository=repository, **ANY_PORTS)) as triton:
            group, folder = triton.pid, triton.folder
            assert len(processes_of(group)) == 4  # tritonserver and three steps
            assert leftovers(folder)
        assert done.exists() == bool(end)
        assert processes_of(group) == []
        assert leftovers(folder) == []


def test_pages_are_decoded_in_half_as_many_processes_as_cores(samples, sample_pages):
    settings = Settings(threads=6, **ANY_PORTS)
    with Triton(settings) as triton, Client(triton.grpc_url) as client:
        steps = processes_of(triton.pid)
        assert sum("document_preprocess" in args for args in steps) == 3
        name, expected = next(iter(sample_pages.items()))
        assert len(client.detect((samples / name).read_bytes()).labels) == len(expected["boxes"])


def test_a_taken_port_is_named_with_the_option_that_chooses_another(captcha_repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(repository=captcha_repository, **{**ANY_PORTS, "grpc_port": port})
        with pytest.raises(ServerError, match=rf"127\.0\.0\.1:{port} .*in use; --grpc-port"):
            Triton(settings).start()


def test_a_missing_folder_of_samples_is_named(tmp_path):
    with pytest.raises(ServerError, match=r"samples .*/none: no such folder"):
        Triton(Settings(samples=tmp_path / "none", **ANY_PORTS)).start()


def test_a_missing_repository_is_named(tmp_path):
    with pytest.raises(ServerError, match=f"{tmp_path}/nowhere: no such folder"):
        Triton(Settings(repository=tmp_path / "nowhere", **ANY_PORTS)).start()
    with pytest.raises(ServerError, match=f"{tmp_path}: no folder in it has a config.pbtxt"):
        Triton(Settings(repository=tmp_path, **ANY_PORTS)).start()


def test_small_images_need_little_shared_memory():
    """64 MiB are what a container has of it where nobody can say otherwise."""
    small = Settings(max_image_bytes=1_500_000, threads=2)
    assert 0 < 2 * shm_least_mib(small) == shm_start_mib(small) <= 64
    assert shm_least_mib(Settings(threads=2)) == shm_start_mib(Settings(threads=2)) == 256


def test_too_little_shared_memory_is_told_with_both_sizes():
    with pytest.raises(ServerError, match=r"/dev/shm has \d+ MiB free, at least 1073741824 MiB"):
        check_shm(2**30)


def test_a_sample_that_is_answered_wrongly_is_not_ready(captcha_repository, tmp_path):
    repository = shutil.copytree(captcha_repository, tmp_path / "repository")
    step = repository / "captcha_postprocess" / "1" / "model.py"
    step.write_text(step.read_text().replace("logits.argmax(1)", "logits.argmin(1)"))
    triton = Triton(Settings(repository=repository, **ANY_PORTS))
    with pytest.raises(ServerError, match=r"captcha_reader, .*: read \d{6}.*; .*--samples"):
        triton.start()  # at once: its timeout of two minutes is longer than a test's
    assert processes_of(triton.pid) == []
    assert leftovers(triton.folder) == []


def test_whatever_is_raised_while_starting_nothing_is_left(captcha_repository):
    def interrupted() -> None:
        if triton._process and len(processes_of(triton.pid)) > 1:
            raise KeyboardInterrupt

    triton = Triton(Settings(repository=captcha_repository, **ANY_PORTS), interrupted)
    with pytest.raises(KeyboardInterrupt):
        triton.start()
    assert processes_of(triton.pid) == []
    assert leftovers(triton.folder) == []


def test_a_folder_that_cannot_be_written_is_told_in_one_line(captcha_repository, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(ServerError, match=r"temporary folder: .*/proc/.*; TMPDIR names another"):
        Triton(Settings(repository=captcha_repository, **ANY_PORTS)).start()


def test_a_full_temporary_folder_is_told_in_one_line(captcha_repository, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    triton = Triton(Settings(repository=captcha_repository, **ANY_PORTS))
    with pytest.raises(ServerError, match=r"temporary folder: No space left on device; TMPDIR"):
        triton.start()
    assert leftovers(triton.folder) == []


def test_files_that_could_not_be_copied_are_told_by_the_first_ones_reason():
    """As shutil.copytree says it on a full disk."""
    full = "[Errno 28] No space left on device: 'a' -> 'b'"
    error = shutil.Error([("a", "b", full), ("c", "d", full)])
    assert no_folder(error) == f"temporary folder: {full}; TMPDIR names another"


def test_the_last_words_of_a_process_that_is_killed_do_not_swallow_the_next_line(capsys):
    Log(iter(["E in the middle of a li"]), verbose=False).join()
    warn("the next")
    assert capsys.readouterr().err == "E in the middle of a li\nW the next\n"


def test_a_line_is_written_at_once_so_that_none_comes_between():
    writes = []
    stream = SimpleNamespace(write=writes.append, flush=lambda: None)
    say("a line", stream)
    assert [text for text in writes if text] == ["a line\n"]


def test_a_log_that_nobody_reads_holds_nothing_up(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log = Log(iter(["W first\n", "failed to load 'a' version 1: no file\n"]), verbose=True)
    log.join()
    assert log.failure() == "models failed to load: a: no file"


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (
            "failed to load 'a' version 2: Internal: "
            r"""TritonModelException: cut\nshort\n\nAt:\n  /b" """,
            "a: cut short",
        ),
        (
            """failed to load model 'a': at least one version must be available" """,
            "a: at least one version must be available",
        ),
        (
            """Poll failed for model directory 'a': failed to read text proto from b" """,
            "a: failed to read text proto from b",
        ),
        (
            """ensemble e contains models that are not available or ambiguous: b" """,
            "e: contains models that are not available or ambiguous: b",
        ),
    ],
    ids=["version", "none", "config", "ensemble"],
)
def test_why_a_model_is_not_served_is_told_in_a_line_with_its_name(line, failure, capsys):
    log = Log(iter([f"E {line}\n", "error: creating server: failed to load all models\n"]), False)
    log.join()
    assert log.failure() == f"models failed to load: {failure}"
    assert capsys.readouterr().err == ""  # it is told once, by who asks
