"""Options, their variables, and what they may be."""

import re
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from server import ports
from server.__main__ import main
from server.settings import ServerError, Settings, parse


def test_an_option_beats_its_variable_beats_the_default(monkeypatch):
    assert parse([]).http_port == 8000
    monkeypatch.setenv("COUNTERSIGN_HTTP_PORT", "8010")
    monkeypatch.setenv("COUNTERSIGN_VERBOSE", "1")
    assert parse([]).http_port == 8010
    assert parse([]).verbose
    assert parse(["--http-port", "8020"]).http_port == 8020


def test_help_explains_each_option(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option in ("repository", "host", "http-port", "grpc-port", "metrics-port", "threads"):
        assert re.search(rf"--{option} VALUE [a-zA-Z]", text)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--http-port", "65536"], "--http-port: 65536, limit 0 to 65535"),
        (["--grpc-port=-1"], "--grpc-port: -1, limit 0 to 65535"),
        (["--grpc-port", "http"], "--grpc-port: 'http', expected a whole number"),
        (["--threads", "0"], "--threads: 0, limit 1 to 1024"),
        (["--ready-timeout-s", "nan"], "--ready-timeout-s: nan, limit 1 to 3600"),
        (["--verbose=perhaps"], "--verbose: 'perhaps', expected 1 or 0"),
        (["--precision", "f8"], "--precision: 'f8', expected nothing, f32, bf16, f16"),
        (["--host", "no.such.host.invalid"], "--host: 'no.such.host.invalid': "),
        (["--http-port", "9000", "--grpc-port", "9000"], "--grpc-port: 9000, which is --http-port"),
        (["--metrics-port", "8000"], "--metrics-port: 8000, which is --http-port too"),
    ],
)
def test_a_value_that_is_none_is_told_with_its_option_and_limit(argv, reason):
    with pytest.raises(ServerError, match=re.escape(reason)):
        parse(argv, environment={})


def test_serve_is_no_option(capsys):
    """SageMaker runs every image with that word."""
    for argv in (["serve", "--threads", "0"], ["--threads", "0"]):
        assert main(argv) == 1
        assert capsys.readouterr().err == "countersign server: --threads: 0, limit 1 to 1024\n"


def test_a_variable_that_is_no_value_is_told_by_its_name():
    with pytest.raises(ServerError, match="COUNTERSIGN_THREADS: 'many', expected a whole number"):
        parse([], environment={"COUNTERSIGN_THREADS": "many"})


@pytest.mark.parametrize(("text", "on"), [("1", True), ("true", True), ("0", False), ("no", False)])
def test_a_switch_is_read_in_words(text, on):
    assert parse([], environment={"COUNTERSIGN_VERBOSE": text}).verbose is on
    assert parse([f"--verbose={text}"], environment={}).verbose is on


def test_free_ports_may_meet():
    assert Settings(http_port=0, grpc_port=0, metrics_port=0).http_port == 0


def test_free_ports_differ_where_one_that_was_let_go_comes_again(monkeypatch):
    held = set()

    @contextmanager
    def listen(host, port):
        lowest = next(one for one in range(40_000, 40_009) if one not in held)
        held.add(lowest)
        yield SimpleNamespace(getsockname=lambda: (host, lowest))
        held.remove(lowest)

    monkeypatch.setattr(ports, "listen", listen)
    chosen = ports.with_free_ports(Settings(http_port=0, grpc_port=8001, metrics_port=0))
    assert (chosen.http_port, chosen.grpc_port, chosen.metrics_port) == (40_000, 8001, 40_001)
    assert not held
