"""A real server whose processes are killed and stopped, and whose repository changes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from countersign import Client
from server import ServerError, Settings, vitals
from server.server import Server
from server.settings import ROOT
from tests.reliability.chaos import Victim
from tests.server.conftest import leftovers

CAPTCHA = ROOT / "server" / "samples" / "captcha_plain.png"
ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
OUTAGE_S = 30  # of a lone replica; on idle cores it is under 6


@pytest.fixture(scope="module")
def repository(captcha_repository, tmp_path_factory) -> Path:
    """The CAPTCHA models, to be changed."""
    return shutil.copytree(captcha_repository, tmp_path_factory.mktemp("own") / "repository")


@pytest.fixture(scope="module")
def victim(repository):
    with Victim("--repository", str(repository)) as victim:
        yield victim


def read(victim: Victim, protocol: str = "grpc") -> str:
    with Client(getattr(victim, f"{protocol}_url"), protocol=protocol) as client:
        return client.read(CAPTCHA, timeout_s=60).text


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Returns once it holds. AssertionError if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def the(name: str, victim: Victim) -> vitals.Process:
    """The process of that name, once the one that it has replaced is gone."""

    def found() -> list[vitals.Process]:
        return [each for each in victim.processes() if each.name == name]

    until(lambda: len(found()) == 1)
    return found()[0]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("captcha_postprocess", signal.SIGKILL),
        ("captcha_heads", signal.SIGSTOP),
        ("tritonserver", signal.SIGKILL),
        ("tritonserver", signal.SIGSTOP),
        ("envoy", signal.SIGKILL),
        ("envoy", signal.SIGSTOP),
    ],
)
def test_who_asks_meanwhile_gets_the_right_answer_soon(name, sent, victim):
    """Of a server with one replica, behind the client's own retries."""
    before = victim.restarts()
    process = the(name, victim)
    os.kill(process.pid, sent)
    began = time.monotonic()
    for protocol in ("grpc", "http"):
        assert read(victim, protocol) == "265649"
    assert time.monotonic() - began < OUTAGE_S
    victim.wait_until_well(before + 1)
    until(lambda: process.state == "")


def test_what_the_dead_left_is_gone(victim):
    """After the repairs above: one folder, one replica in it, and its shared memory alone."""
    (folder,) = victim.folder.glob("countersign-*")
    (replica,) = folder.glob(f"{folder.name}_*")
    assert leftovers(folder)
    assert all(
        path.name.startswith(f"{replica.name}_")
        for path in Path("/dev/shm").glob(f"{folder.name}*")
    )


def reload(victim: Victim) -> tuple[int, str]:
    """The command's exit status and what it printed."""
    command = [sys.executable, "-m", "server", "reload"]
    environment = os.environ | {"TMPDIR": str(victim.folder)}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return told.returncode, told.stdout + told.stderr


def test_a_corrupt_version_is_refused_and_the_old_one_serves_on(victim, repository):
    heads = repository / "captcha_heads"
    shutil.copytree(heads / "2", heads / "3")
    (heads / "3" / "model.bin").write_bytes((heads / "2" / "model.bin").read_bytes()[:1000])
    status, told = reload(victim)
    assert status == 1
    assert re.search(r"not reloaded, what was served is served on: .*captcha_heads: ", told)
    assert told.count("\n") == 1
    assert victim.metric("countersign_model_version")['model="captcha_heads"'] == 2
    assert read(victim) == "265649"


def test_a_version_that_answers_wrongly_is_refused(victim, repository):
    """Its weights have the right size, and are another model's."""
    heads = repository / "captcha_heads"
    weights = bytearray((heads / "2" / "model.bin").read_bytes())
    weights[-20000:] = bytes(20000)  # of the digits' own layer
    (heads / "3" / "model.bin").write_bytes(weights)
    status, told = reload(victim)
    assert status == 1
    assert re.search(r"served on: captcha_reader, captcha_plain\.png: read \d{6}, ", told)


def test_a_good_version_is_switched_to_without_a_lost_request(victim, repository):
    heads = repository / "captcha_heads"
    shutil.copy(heads / "2" / "model.bin", heads / "3" / "model.bin")
    assert reload(victim) == (
        0,
        "reloaded: captcha_heads 3, captcha_postprocess 1, captcha_preprocess 1, "
        "captcha_reader 1\n",
    )
    assert victim.metric("countersign_model_version")['model="captcha_heads"'] == 3
    assert read(victim) == "265649"


def test_what_is_served_stays_when_its_files_are_overwritten_in_place(victim, repository):
    (repository / "captcha_heads" / "3" / "model.bin").write_bytes(b"")
    before = victim.restarts()
    process = the("captcha_preprocess", victim)
    os.kill(process.pid, signal.SIGKILL)
    victim.wait_until_well(before + 1)
    assert read(victim) == "265649"


def test_a_signal_reloads_as_well(victim, repository):
    shutil.rmtree(repository / "captcha_heads" / "3")
    victim.process.send_signal(signal.SIGHUP)
    until(lambda: "\nreloaded: captcha_heads 2, " in victim.log.read_text())
    assert read(victim) == "265649"


def test_a_stop_with_a_paused_step_ends_well(victim):
    """The last of these, which ends the server."""
    process = the("captcha_heads", victim)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert victim.end() == 0
    assert time.monotonic() - began < 10
    assert list(victim.folder.glob("countersign-*")) == []
    assert vitals.working_in(victim.folder.resolve()) == []


def test_the_older_version_is_served_where_the_newest_is_corrupt(
    captcha_repository, tmp_path, capsys
):
    repository = shutil.copytree(captcha_repository, tmp_path / "repository")
    (repository / "captcha_heads" / "2" / "model.xml").write_text("<net")
    with Server(Settings(repository=repository, **ANY_PORTS)) as server:
        assert server.supervisor.release.versions["captcha_heads"] == 1
        with Client(server.grpc_url) as client:
            assert len(client.read(CAPTCHA).text) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(
        r"W models failed to load: captcha_heads: .*; served instead: captcha_heads 1$", line
    )


def test_without_an_older_version_the_start_fails_with_the_model_and_its_reason(
    captcha_repository, tmp_path
):
    repository = shutil.copytree(captcha_repository, tmp_path / "repository")
    for version in ("1", "2"):
        (repository / "captcha_heads" / version / "model.xml").write_text("<net")
    with pytest.raises(ServerError, match="models failed to load: captcha_heads: "):
        Server(Settings(repository=repository, **ANY_PORTS)).start()


def test_stopped_orphans_of_a_killed_server_are_ended_at_the_next_start(captcha_repository):
    with Victim("--repository", str(captcha_repository)) as victim:
        orphans = victim.processes()
        os.kill(the("tritonserver", victim).pid, signal.SIGSTOP)  # no SIGTERM ends it now
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        (folder,) = victim.folder.glob("countersign-*")
        environment = os.environ | {"TMPDIR": str(victim.folder)}
        command = [
            sys.executable,
            "-c",
            "from server.folder import private_folder as p\nwith p(): 0",
        ]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        assert leftovers(folder) == []
        assert [each.name for each in orphans if each.state not in vitals.GONE] == []


def test_a_step_that_hangs_is_replaced(captcha_repository, tmp_path):
    """It neither died nor is stopped: it waits for as long as a file is there."""
    repository, file = shutil.copytree(captcha_repository, tmp_path / "models"), tmp_path / "wait"
    step = repository / "captcha_postprocess" / "1" / "model.py"
    waits = f"import os, time\n        while os.path.exists({str(file)!r}): time.sleep(0.1)\n"
    head, execute, body = step.read_text().partition("def execute(self, requests):\n")
    step.write_text(f"{head}{execute}        {waits}{body}")
    with Victim("--repository", str(repository)) as victim:
        file.touch()
        until(lambda: "captcha_reader: no answer for " in victim.log.read_text(), 60)
        file.unlink()
        until(lambda: "replaced after" in victim.log.read_text(), 60)
        assert read(victim) == "265649"


def test_a_replica_that_leaks_is_replaced(captcha_repository):
    """Its limit is below what it takes at rest, so that each leaks, until the server gives up."""
    with Victim(*("--repository", str(captcha_repository), "--replica-memory-mib", "1")) as victim:
        until(lambda: "replaced after" in victim.log.read_text())
        assert re.search(
            r"W replica 1: \d+ MiB, limit 1 MiB; another is started", victim.log.read_text()
        )
        assert read(victim) == "265649"
