"""The whole server, as a user starts it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from countersign import Client, Unavailable
from server import Server, ServerError, Settings
from server.ports import free_port
from server.settings import ROOT
from tests.server.conftest import leftovers, processes_of

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def test_few_file_descriptors_are_told_with_the_limit():
    started = subprocess.run(
        ["bash", "-c", f"ulimit -n 256; exec {sys.executable} -m server --http-port 0"],
        env=os.environ | {"COUNTERSIGN_NO_GATEWAY": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert started.returncode == 1
    assert re.fullmatch(
        r"countersign server: file descriptors: 256, at least 1024 are needed; .*\n", started.stderr
    )


class Foreground:
    """`python -m server` as a user starts it; a context manager, so that a test leaves none."""

    def __init__(self, repository: Path, environment: Mapping[str, str] = os.environ):
        self.http_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.grpc_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.metrics_url = f"127.0.0.1:{free_port('127.0.0.1')}"
        variables = {
            "COUNTERSIGN_HTTP_PORT": self.http_url.rpartition(":")[2],
            "COUNTERSIGN_GRPC_PORT": self.grpc_url.rpartition(":")[2],
            "COUNTERSIGN_METRICS_PORT": self.metrics_url.rpartition(":")[2],
            "COUNTERSIGN_NO_GATEWAY": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "--repository", str(repository)],
            cwd=ROOT,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.first_line = self.process.stdout.readline()
        self.triton, self.front = self.child("tritonserver"), self.child("envoy")

    def child(self, name: str) -> int:
        """The process of that name that the server has started."""
        (found,) = (
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/stat")
            if re.search(rf" \({name}\) . {self.process.pid} ", path.read_text())
        )
        return found

    def __enter__(self) -> "Foreground":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(60)

    def end(self) -> tuple[int, str]:
        """Exit status and what was printed after the first line."""
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


def test_a_stopped_server_lets_requests_in_flight_finish(samples, sample_pages):
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
            server.process.send_signal(signal.SIGTERM)
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


def test_metrics_are_served(server):
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as reply:
        text = reply.read().decode()
    for sample in (
        'nv_inference_request_success{replica="1",model="document_detector"',
        'countersign_replica_state{replica="1",state="well"} 1',
        'countersign_restarts_total{part="front"} 0',
        'countersign_model_version{model="document_yolo"} 8',
        "envoy_http_downstream_rq_total{",
    ):
        assert sample in text, sample
    assert text.count("# TYPE nv_inference_request_success counter") == 1


def test_a_killed_starter_takes_the_server_with_it_and_the_next_removes_what_it_left(
    captcha_repository, tmp_path
):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with Foreground(captcha_repository, environment) as server:
        (folder,) = tmp_path.glob("countersign-*")
        server.process.kill()
        server.end()
        deadline = time.monotonic() + 30
        while processes_of(server.triton) or processes_of(server.front):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert leftovers(folder)
    with Foreground(captcha_repository, environment):
        assert leftovers(folder) == []
        assert len(list(tmp_path.glob("countersign-*"))) == 1
    assert list(tmp_path.glob("countersign-*")) == []


def test_any_path_is_served_and_nothing_in_it_reaches_a_shell(captcha_repository, tmp_path):
    odd = tmp_path / "a b;'\"é $(touch spoilt) `touch spoilt` & %"
    repository = shutil.copytree(captcha_repository, odd / "models", symlinks=False)
    (odd / "temporary").mkdir()
    with Foreground(repository, os.environ | {"TMPDIR": str(odd / "temporary")}) as server:
        assert server.first_line.startswith("ready after ")
        with Client(server.grpc_url) as client:
            assert client.read(ROOT / "server/samples/captcha_plain.png").text == "265649"
        server.process.send_signal(signal.SIGINT)
        assert server.end()[0] == 0
    assert not list(tmp_path.rglob("spoilt"))
    assert not (ROOT / "spoilt").exists()
    assert list((odd / "temporary").iterdir()) == []


@pytest.fixture(scope="module")
def reader(captcha_repository) -> Iterator[Server]:
    """A server of the CAPTCHA models at an address of IPv6, where there is one."""
    host = "::1" if socket.has_ipv6 else "127.0.0.1"
    with Server(Settings(repository=captcha_repository, host=host, **ANY_PORTS)) as reader:
        yield reader


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_address_of_ipv6_is_served(reader):
    assert reader.http_url.startswith("[::1]:")
    for protocol in ("grpc", "http"):
        with Client(getattr(reader, f"{protocol}_url"), protocol=protocol) as client:
            assert client.read(ROOT / "server/samples/captcha_plain.png").text == "265649"


def test_of_two_starts_on_one_port_one_is_told(reader, monkeypatch):
    """Though both found it free."""
    monkeypatch.setattr("server.server.check_ports", lambda settings: None)
    second = Server(reader.settings)
    with pytest.raises(ServerError, match=rf"{re.escape(reader.http_url)}.*already in use"):
        second.start()
    assert leftovers(second.folder) == []
    with Client(reader.grpc_url) as client:
        assert client.read(ROOT / "server/samples/captcha_plain.png").text == "265649"


def test_a_stopping_server_is_unavailable_to_new_requests(reader):
    """The last of its tests."""
    reader.drain()
    for protocol in ("grpc", "http"):
        url = getattr(reader, f"{protocol}_url")
        with Client(url, protocol=protocol) as client, pytest.raises(Unavailable):
            client.read(b"any image", timeout_s=0.5)
