"""Roll-outs of real versions on a real server: good ones, worse ones, and what is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from countersign import Client
from server import ServerError
from server.rollout import Limits, wanted
from server.settings import ROOT
from tests.reliability.chaos import Victim

SAMPLES = ROOT / "server" / "samples"
PLAIN, DARK = SAMPLES / "captcha_plain.png", SAMPLES / "captcha_dark.png"
MODEL = "captcha_postprocess"
PLAIN_TEXT = "265649"
EXECUTE = "def execute(self, requests):\n"
WORSE = {  # lines before a step's own; the server's samples are answered well by each
    "fails": "        if requests[0].request_id() != 'countersign-sample': raise ValueError('broken')\n",
    "slow": "        import time; time.sleep(0.1)\n",
    "wrong": "        return [respond(request, 2) for request in requests]\n",  # is never certain
    "false": "        raise ValueError('broken')\n",
}


def add_version(repository: Path, version: int, lines: str = "") -> None:
    step = shutil.copytree(repository / MODEL / "1", repository / MODEL / str(version)) / "model.py"
    head, execute, body = step.read_text().partition(EXECUTE)
    step.write_text(head + execute + lines + body)


@pytest.fixture(scope="module")
def repository(captcha_repository, tmp_path_factory) -> Path:
    """The CAPTCHA models, served as version 1, and versions of a step that are good or worse."""
    found = shutil.copytree(captcha_repository, tmp_path_factory.mktemp("rollout") / "repository")
    return found


@pytest.fixture(scope="module")
def victim(repository) -> Iterator[Victim]:
    with Victim("--repository", str(repository), "--log-requests") as victim:
        for version, lines in enumerate(("", *WORSE.values()), 2):
            add_version(repository, version, lines)
        yield victim


def rollout(victim: Victim, *arguments: str) -> tuple[int, str]:
    """The command's exit status and what it printed."""
    command = [sys.executable, "-m", "server", "rollout", *arguments]
    environment = os.environ | {"TMPDIR": str(victim.folder)}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return told.returncode, told.stdout + told.stderr


def start(victim: Victim, version: int, *arguments: str) -> tuple[int, str]:
    return rollout(victim, "start", "--model", MODEL, "--version", str(version), *arguments)


def status(victim: Victim) -> dict:
    code, told = rollout(victim, "status", "--json")
    assert code == 0, told
    return json.loads(told)


class Load:
    """Clients without retries that read CAPTCHAs over both protocols, as a context manager."""

    def __init__(self, victim: Victim) -> None:
        self._urls = victim.grpc_url, victim.http_url
        self._done = threading.Event()
        self.answers: list[str] = []
        self.lost: list[Exception] = []

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(2)
        for url, protocol in zip(self._urls, ("grpc", "http"), strict=True):
            self._pool.submit(self._ask, url, protocol)
        return self

    def _ask(self, url: str, protocol: str) -> None:
        with Client(url, protocol=protocol) as client:
            while not self._done.is_set():
                try:
                    self.answers.append(client.read(PLAIN).text)
                except Exception as error:
                    self.lost.append(error)
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._pool.shutdown()


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def load(victim) -> Iterator[Load]:
    with Load(victim) as load:
        yield load
    assert load.lost == []
    assert set(load.answers) == {PLAIN_TEXT}


def taken_back(victim: Victim, version: int) -> dict:
    """How the roll-out of that version ended, once it is over."""
    until(lambda: not status(victim)["under_way"])
    last = status(victim)["last"]
    assert (last["outcome"], last["version"]) == ("taken_back", version), last
    return last


def test_bogus(victim, load):
    print(start(victim, 3, "--share", "50%"))
    print(taken_back(victim, 3))
    print(start(victim, 4, "--shadow"))
    print(taken_back(victim, 4))
    print(start(victim, 5, "--shadow"))
    print(taken_back(victim, 5))
    print(start(victim, 6, "--shadow"))
    print(start(victim, 2, "--share", "50%"))
    time.sleep(8)
    print(status(victim))
    print(rollout(victim, "status")[1])
    print(rollout(victim, "promote"))
    print(rollout(victim, "status")[1])
    print(victim.log.read_text()[-3000:])
    assert 0
