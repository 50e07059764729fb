"""Servers behind one name, by a name server of the test's own: all take turns, come and go."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Thread

import grpc
import pytest
import trustme
from tritonclient.grpc import service_pb2_grpc

from countersign import AsyncClient, Client, Detections
from tests.client.conftest import Fake, Servicer, serving_grpc

NAME = "detector.test"
FIRST, SECOND = "127.0.0.1", "127.0.0.2"


class Names:
    """A name server (RFC 1035) over UDP that knows NAME alone: its `addresses`, for a second."""

    def __init__(self, listening: socket.socket, addresses: list[str]) -> None:
        self._listening, self.addresses = listening, addresses

    def serve(self) -> None:
        """Until a message of no bytes comes."""
        while True:
            asked, caller = self._listening.recvfrom(512)
            if not asked:
                return
            self._listening.sendto(self.answer(asked), caller)

    def answer(self, asked: bytes) -> bytes:
        """An A record for each address; no record of any other type."""
        end = asked.index(0, 12) + 5  # of the one question: labels, type, class
        wanted = self.addresses if asked[end - 4 : end] == b"\0\1\0\1" else []
        head = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, len(wanted), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4)  # the question's name, A, IN, 1 s
        records = (record + socket.inet_aton(each) for each in wanted)
        return head + asked[12:end] + b"".join(records)


@contextmanager
def naming(addresses: list[str], port: int) -> Iterator[tuple[Names, str]]:
    """The name server, and the URL of NAME and `port` by it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((FIRST, 0))
        names = Names(listening, addresses)
        thread = Thread(target=names.serve)
        thread.start()
        try:
            yield names, f"dns://{FIRST}:{listening.getsockname()[1]}/{NAME}:{port}"
        finally:
            listening.sendto(b"", listening.getsockname())
            thread.join()


@pytest.fixture
def both() -> Iterator[tuple[list[Fake], list[ExitStack]]]:
    """Two servers on one port of two addresses, and what closes each."""
    with ExitStack() as first, ExitStack() as second:
        fakes = [first.enter_context(serving_grpc(host=FIRST))]
        port = int(fakes[0].url.rpartition(":")[2])
        fakes.append(second.enter_context(serving_grpc(host=SECOND, port=port)))
        yield fakes, [first, second]


def port_of(fake: Fake) -> int:
    return int(fake.url.rpartition(":")[2])


def ask_until_all_are_asked(client: Client, fakes: list[Fake]) -> None:
    deadline = time.monotonic() + 20
    while not all(fake.asked for fake in fakes):
        client.detect(b"page")
        assert time.monotonic() < deadline, [len(fake.asked) for fake in fakes]
        time.sleep(0.02)


def test_all_servers_behind_a_name_take_turns(both):
    fakes, _ = both
    with naming([FIRST, SECOND], port_of(fakes[0])) as (_, url), Client(url) as client:
        ask_until_all_are_asked(client, fakes)
        before = [len(fake.asked) for fake in fakes]
        for _ in range(20):
            client.detect(b"page")
        assert [len(fake.asked) - n for fake, n in zip(fakes, before, strict=True)] == [10, 10]


def test_they_do_so_for_the_async_client(both):
    fakes, _ = both

    async def ask(url: str) -> None:
        async with AsyncClient(url) as client:
            while not all(fake.asked for fake in fakes):
                await client.detect(b"page")

    with naming([FIRST, SECOND], port_of(fakes[0])) as (_, url):
        asyncio.run(asyncio.wait_for(ask(url), 20))


def test_a_server_that_goes_away_loses_no_page(both):
    """It is cut off with requests under way, which its clients send again."""
    fakes, closing = both
    with naming([FIRST, SECOND], port_of(fakes[0])) as (names, url), Client(url) as client:
        ask_until_all_are_asked(client, fakes)
        answers = client.detect_many([b"slow"] * 24, concurrency=4)
        found = [next(answers)]
        names.addresses = [SECOND]
        closing[0].close()
        found += answers
    assert [type(each) for each in found] == [Detections] * 24


def test_a_server_that_came_is_found_once_a_connection_has_ended():
    with serving_grpc(host=FIRST, connection_s=0.5) as first:
        port = port_of(first)
        with naming([FIRST], port) as (names, url), Client(url) as client:
            client.detect(b"page")
            with serving_grpc(host=SECOND, port=port) as second:
                names.addresses = [FIRST, SECOND]
                ask_until_all_are_asked(client, [second])


ASK = "import sys; from countersign import Client; print(len(Client(sys.argv[1]).detect(b'page')))"


def test_a_name_may_be_encrypted_by_an_authority_of_the_environments(tmp_path):
    """As the gateway's pods are told the servers' authority; gRPC reads it once a process."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    issued = authority.issue_cert(NAME)
    pair = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    server = grpc.server(ThreadPoolExecutor(2))
    fake = Fake("grpc")
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(fake), server)
    port = server.add_secure_port(f"{FIRST}:0", grpc.ssl_server_credentials([pair]))
    server.start()
    with naming([FIRST], port) as (_, url):
        told = subprocess.run(
            [sys.executable, "-c", ASK, f"grpcs+{url}"],
            env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "ca.crt")},
            capture_output=True,
            text=True,
        )
    server.stop(None).wait()
    assert told.stdout == "2\n", told.stderr
