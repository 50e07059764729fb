"""Each way to the server: where it leads, what ends it, and what it survives."""

import re
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from countersign import Client, Unavailable, over_grpc, over_http

# google.rpc.Status {details: [Any {RetryInfo {retry_delay {seconds: 1 nanos: 5e8}}}]}, by hand
RETRY_INFO = (
    b"\x1a\x36\x0a\x28type.googleapis.com/google.rpc.RetryInfo"
    b"\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01"
)


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-7"}, 0),
        ({"grpc-retry-pushback-ms": "250", "retry-after": "7"}, 0.25),
        ({"grpc-status-details-bin": RETRY_INFO}, 1.5),
        ({"grpc-status-details-bin": b"\xff"}, 0),
    ],
)
def test_grpcs_metadata_say_when_to_come_again(metadata, seconds):
    assert over_grpc.retry_after_s(list(metadata.items())) == seconds


def test_https_headers_say_when_to_come_again():
    assert over_http.retry_after_s({"Retry-After": "7"}) == 7
    assert over_http.retry_after_s({"Retry-After": "soon"}) == 0
    assert over_http.retry_after_s({}) == 0
    date = datetime.now(timezone.utc) + timedelta(seconds=90)
    assert 88 < over_http.retry_after_s({"Retry-After": format_datetime(date, usegmt=True)}) <= 90


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_no_proxy_of_the_environment_comes_between(serving, host, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but not listening
        for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
            for variable in (name, name.upper()):
                proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
                monkeypatch.setenv(variable, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        bound = "[::1]" if host == "[::1]" else "127.0.0.1"
        with serving(host=bound) as fake:
            url = f"{host}:{fake.url.rpartition(':')[2]}"
            with Client(url, protocol=fake.protocol, key="secret") as client:
                assert len(client.detect(b"page", timeout_s=5)) == 2


@pytest.mark.parametrize(
    ("other", "reason"),
    [("grpc", "does not speak gRPC: name the gRPC port"), ("http", "does not speak HTTP/1")],
)
def test_a_port_of_the_other_protocol_is_named_at_once(request, other, reason):
    fake = request.getfixturevalue({"grpc": "fake_http", "http": "fake_grpc"}[other])
    start = time.monotonic()
    with Client(fake.url, protocol=other) as client, pytest.raises(Unavailable, match=reason):
        client.detect(b"page")
    assert time.monotonic() - start < 10  # of 30 s


def test_a_port_that_hangs_up_on_grpc_is_asked_whether_it_speaks_http():
    """As tritonserver's HTTP port does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"127.0.0.1:{listener.getsockname()[1]}"
        ended = threading.Event()

        def serve():
            while not ended.is_set():
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(3) == b"GET":
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with Client(url) as client, pytest.raises(Unavailable, match="does not speak gRPC"):
            client.detect(b"page", timeout_s=20)
        ended.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


def test_a_port_of_both_protocols_may_hang_up_while_it_starts(monkeypatch):
    """As Envoy's: it answers over HTTP by the time that it is asked."""
    doubt, hung_up = over_grpc.Doubt(), over_grpc.HUNG_UP[0]
    monkeypatch.setattr(over_grpc, "speaks_http", lambda endpoint: True)
    assert [doubt.certain(hung_up, ("host", 1)) for _ in range(3)] == [False, False, True]
    doubt = over_grpc.Doubt()
    doubt.end()
    assert not any(doubt.certain(hung_up, ("host", 1)) for _ in range(3))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nobody_listening_is_unavailable(protocol):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but not listening
        url = f"127.0.0.1:{unused.getsockname()[1]}"
        with Client(url, protocol=protocol) as client, pytest.raises(Unavailable) as refused:
            client.detect(b"page", timeout_s=0.3)
    assert re.match(rf"{url}: .*Connection refused", str(refused.value))
    assert "ssl" not in str(refused.value)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_host_that_is_not_there_is_said_in_the_systems_words(protocol):
    client = Client("no.such.host.invalid:1", protocol=protocol)
    with client, pytest.raises(Unavailable, match=r"host\.invalid:1: \w") as refused:
        client.detect(b"page", timeout_s=0.3)
    assert "ssl" not in str(refused.value)


def test_a_restart_of_the_server_loses_no_page(serving):
    with serving() as first:
        client = Client(first.url, protocol=first.protocol)
        answers = client.detect_many([b"slow"] * 12, concurrency=2)
        found = [next(answers)]
    host, _, port = first.url.rpartition(":")
    back = threading.Event()

    def restarted():
        time.sleep(1)
        with serving(host=host, port=int(port)):
            back.wait(20)

    thread = threading.Thread(target=restarted)
    thread.start()
    try:
        found += answers
    finally:
        back.set()
        thread.join()
        client.close()
    assert [type(each).__name__ for each in found] == ["Detections"] * 12


FORKS = """
import os, sys, threading
from countersign import Client, CountersignError
url, protocol, image, forks = sys.argv[1:]
client = Client(url, protocol=protocol)
client.detect(b"page")

def busy():
    while True:
        client.detect(image.encode())

threading.Thread(target=busy, daemon=True).start()
sys.stdin.readline()  # it has begun
for _ in range(int(forks)):
    child = os.fork()
    if not child:
        try:
            print(len(client.detect(b"page", timeout_s=20)), flush=True)
            client.close()
        except CountersignError as error:
            print(error, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not status, status
print(len(client.detect(b"page")), flush=True)
"""


def printed_by_forks(fake, *, busy_with, forks):
    """By each child and then by the parent, where another thread calls without end."""
    command = [sys.executable, "-c", FORKS, fake.url, fake.protocol, busy_with, str(forks)]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(command, text=True, **pipes) as process:
        deadline = time.monotonic() + 30
        while len(fake.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        printed, errors = process.communicate("\n", timeout=60)
    assert not process.returncode, errors
    return printed.splitlines()


def test_a_fork_amid_calls_leaves_all_processes_with_a_client(fake):
    assert printed_by_forks(fake, busy_with="slow", forks=20) == ["2"] * 21


def test_a_fork_does_not_wait_for_ever_for_a_call(fake):
    fake.script = ["", "stall"]
    child, parent = printed_by_forks(fake, busy_with="page", forks=1)
    assert parent == "2"
    if fake.protocol == "http":
        assert child == "2"
    else:
        assert "forked while a call over gRPC was under way" in child


def test_an_interrupted_call_ends_the_servers_work(fake):
    """Ctrl-C while a blocking call waits."""
    fake.script = ["stall"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from countersign import Client; import time\n"
        "client = Client(sys.argv[1], protocol=sys.argv[2])\n"
        "try: client.detect(b'page')\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
        "time.sleep(30)"
    )
    command = [sys.executable, "-c", code, fake.url, fake.protocol]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert fake.stalled.acquire(timeout=20)
        process.send_signal(2)
        assert process.stdout.readline() == b"interrupted\n"
        assert fake.abandoned.acquire(timeout=5)
    finally:
        process.kill()
        process.communicate()
