"""A real tritonserver, started and stopped; and each reason why it cannot start."""

import errno
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from countersign import Client, Unavailable
from server import ServerError, Settings, Triton
from server.log import Log
from server.ports import free_port
from server.settings import ROOT
from server.triton import check_shm

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def captcha_repository(tmp_path_factory) -> Path:
    """The CAPTCHA models alone, which start faster."""
    repository = tmp_path_factory.mktemp("repository")
    for model in (ROOT / "model_repository").glob("captcha_*"):
        shutil.copytree(model, repository / model.name)
    return repository


def processes_of(group: int) -> list[str]:
    """Command lines of the living processes in a process group."""
    return [args for _, args in pids_of(group)]


def pids_of(group: int) -> list[tuple[int, str]]:
    """Process id and command line of each living process in a process group."""
    command = ["ps", "-ww", "-eo", "pgid,pid,stat,args"]
    rows = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[1:]
    fields = [row.split(None, 3) for row in rows]
    return [
        (int(pid), args)
        for pgid, pid, stat, args in fields
        if pgid == str(group) and not stat.startswith("Z")
    ]


def leftovers(folder: Path) -> list[Path]:
    return [*Path("/dev/shm").glob(f"{folder.name}*"), *folder.parent.glob(folder.name)]


def test_starts_and_stops_leave_nothing_behind(captcha_repository):
    for _ in range(2):
        with Triton(Settings(repository=captcha_repository, **ANY_PORTS)) as triton:
            group, folder = triton._process.pid, triton._folder
            assert len(processes_of(group)) == 4  # tritonserver and three steps
            assert leftovers(folder)
        assert processes_of(group) == []
        assert leftovers(folder) == []


def test_pages_are_decoded_in_half_as_many_processes_as_cores(samples, sample_pages):
    settings = Settings(threads=6, **ANY_PORTS)
    with Triton(settings) as triton, Client(triton.grpc_url) as client:
        steps = processes_of(triton._process.pid)
        assert sum("document_preprocess" in args for args in steps) == 3
        name, shown = next(iter(sample_pages.items()))
        assert len(client.detect((samples / name).read_bytes()).labels) == len(shown["boxes"])


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


def test_too_little_shared_memory_is_told_with_both_sizes():
    with pytest.raises(ServerError, match=r"/dev/shm has \d+ MiB free, at least 1073741824 MiB"):
        check_shm(2**50)


def test_a_sample_that_is_answered_wrongly_is_not_ready(captcha_repository, tmp_path):
    repository = shutil.copytree(captcha_repository, tmp_path / "repository")
    step = repository / "captcha_postprocess" / "1" / "model.py"
    step.write_text(step.read_text().replace("logits.argmax(1)", "logits.argmin(1)"))
    triton = Triton(Settings(repository=repository, **ANY_PORTS))
    with pytest.raises(ServerError, match=r"captcha_reader, .*: read \d{6}.*; .*--samples"):
        triton.start()  # at once: its timeout of two minutes is longer than a test's
    assert processes_of(triton._process.pid) == []
    assert leftovers(triton._folder) == []


def test_whatever_is_raised_while_starting_nothing_is_left(captcha_repository):
    def interrupted() -> None:
        if triton._process and len(processes_of(triton._process.pid)) > 1:
            raise KeyboardInterrupt

    triton = Triton(Settings(repository=captcha_repository, **ANY_PORTS), interrupted)
    with pytest.raises(KeyboardInterrupt):
        triton.start()
    assert processes_of(triton._process.pid) == []
    assert leftovers(triton._folder) == []


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
    assert leftovers(triton._folder) == []


def test_few_file_descriptors_are_told_with_the_limit():
    told = subprocess.run(
        ["bash", "-c", f"ulimit -n 256; exec {sys.executable} -m server --http-port 0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1
    assert re.fullmatch(
        r"countersign server: file descriptors: 256, at least 1024 are needed; .*\n", told.stderr
    )


def test_a_log_that_nobody_reads_holds_nothing_up(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log = Log(iter(["W first\n", "failed to load 'a' version 1: no file\n"]), verbose=True)
    log.join()
    assert log.failure() == "models failed to load: a: no file"


class Foreground:
    """`python -m server` as a user starts it; a context manager, so that a test leaves none."""

    def __init__(self, repository: Path):
        self.http_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.grpc_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.metrics_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        variables = {
            "COUNTERSIGN_HTTP_PORT": self.http_url.rpartition(":")[2],
            "COUNTERSIGN_GRPC_PORT": self.grpc_url.rpartition(":")[2],
            "COUNTERSIGN_METRICS_PORT": self.metrics_url.rpartition(":")[2],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "--repository", repository],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.first_line = self.process.stdout.readline()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        self.triton = int(children.split()[0])

    def __enter__(self) -> "Foreground":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(60)

    def end(self) -> tuple[int, str]:
        """Exit status and what was printed after the first line."""
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_lets_requests_in_flight_finish(sign, samples, sample_pages):
    page = max(((samples / name).read_bytes() for name in sample_pages), key=len)
    with Foreground(ROOT / "model_repository") as server, Client(server.grpc_url) as client:
        assert re.match(r"ready after [\d.]+ s, \d+ cores: \d+ threads", server.first_line)
        assert f": HTTP {server.http_url}, gRPC" in server.first_line
        alone = client.detect(page)
        with ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(client.detect, page) for _ in range(24)]
            while pending(server.metrics_url) < 12:
                assert not all(future.done() for future in asked)
            time.sleep(0.1)
            server.process.send_signal(sign)
            answers = [future.result() for future in asked]
        assert server.end() == (0, "stopping, requests in flight may finish\n")
        assert processes_of(server.triton) == []
    for answer in answers:
        np.testing.assert_array_equal(answer.boxes, alone.boxes)


def pending(metrics_url: str) -> int:
    """How many requests tritonserver has taken and not yet begun, over all models."""
    with urllib.request.urlopen(f"http://{metrics_url}/metrics") as reply:
        text = reply.read().decode()
    counts = re.findall(r"^nv_inference_pending_request_count{.*} (\d+)", text, re.MULTILINE)
    return sum(map(int, counts))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_stopping_server_is_unavailable_to_new_requests(captcha_repository, protocol):
    with Triton(Settings(repository=captcha_repository, **ANY_PORTS)) as triton:
        triton._drain()
        url = getattr(triton, f"{protocol}_url")
        with Client(url, protocol=protocol) as client, pytest.raises(Unavailable):
            client.read(b"any image")


def test_a_killed_step_ends_the_server_with_its_reason(captcha_repository):
    with Foreground(captcha_repository) as server:
        (stub,) = (p for p, args in pids_of(server.triton) if "captcha_postprocess/1" in args)
        os.kill(stub, signal.SIGKILL)
        status, output = server.end()
        assert status == 1
        assert "a model broke, restart the server: " in output
        assert processes_of(server.triton) == []


def test_a_killed_starter_takes_the_server_with_it(captcha_repository):
    with Foreground(captcha_repository) as server:
        server.process.kill()
        server.end()
        deadline = time.monotonic() + 30
        while processes_of(server.triton) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of(server.triton) == []


def test_metrics_are_served(server):
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as reply:
        assert b'nv_inference_request_success{model="document_detector"' in reply.read()
