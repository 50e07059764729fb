"""A hundredth of every attack, on the server that all tests share."""

import time

import pytest

from countersign import Client
from tests.reliability.attack import ATTACKS, Target, connect, generate, head, run
from tests.reliability.inputs import files
from tests.reliability.witness import Witness


@pytest.fixture(scope="module")
def witness(server):
    """Asks the server all the time."""
    with Witness(server.grpc_url) as witness:
        yield witness


def test_right_answers_are_seen(witness):
    began = time.monotonic()
    time.sleep(0.5)
    took_s, wrong = witness.since(began)
    assert took_s
    assert wrong == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_ends_in_refusals_and_right_answers_go_on(attack, server, witness):
    target = Target(server.http_url, server.grpc_url, server.metrics_url, share=0.01)
    found, _, failure = run(target, attack, witness)
    assert failure == ""
    assert found
    assert server.failed == ""


def test_files_without_a_fault_are_answered(server):
    """Else the mutated ones would be refused for another reason."""
    with Client(server.grpc_url) as client:
        for name, content in files().items():
            assert client.detect(content).page_size == (240, 320), name


def test_a_body_beyond_the_limit_is_told_with_both_sizes(server):
    limit = 44_804_780  # the base64 text of 32 MiB, and 64 KiB
    with connect(server.http_url) as connection:
        connection.sendall(head(generate(), f"Content-Length: {limit + 1}"))
        answer = connection.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert f'{{"error":"body: {limit + 1} bytes, limit {limit} bytes"}}' in answer
