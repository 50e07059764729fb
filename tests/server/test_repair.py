"""A real server whose processes are killed and stopped, and whose repository changes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from countersign import Client, DeadlineExceeded, Refused
from server import vitals
from server.settings import ROOT
from tests.reliability.chaos import Victim
from tests.reliability.inputs import chunk
from tests.server.conftest import leftovers, misread

CAPTCHA = ROOT / "server" / "samples" / "captcha_plain.png"
MEMORY_MIB = 300  # most of a replica, which has some 160 at rest
IMAGE_TIMEOUT_S = 2
# What captcha_preprocess does besides, if a request's image or a file of that folder says so
HOOKS = """
import os
import signal
import time

execute = TritonPythonModel.execute
open_at_once = open_image


def open_image(sent, **options):
    while b"is never read" in sent:
        time.sleep(0.02)
    return open_at_once(sent, **options)


def hooked(self, requests):
    for request in requests:
        sent = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()[0]
        if b"ends its reader" in sent:
            os.kill(os.getpid(), signal.SIGKILL)
        while os.path.exists("FOLDER/hangs") and b"hangs" in sent:
            time.sleep(0.02)
        while os.path.exists("FOLDER/all-hang"):
            time.sleep(0.02)
    if os.path.exists("FOLDER/leaks") and not hasattr(self, "held"):
        self.held = b"x" * (MEMORY_MIB << 20)
    return execute(self, requests)


TritonPythonModel.execute = hooked
"""


@pytest.fixture(scope="module")
def repository(captcha_repository, tmp_path_factory) -> Path:
    """The CAPTCHA models, to be changed."""
    return shutil.copytree(captcha_repository, tmp_path_factory.mktemp("own") / "repository")


@pytest.fixture(scope="module")
def victim(repository) -> Iterator[Victim]:
    """Its server; what it serves has been overwritten in place meanwhile."""
    with Victim("--repository", str(repository)) as victim:
        weights = repository / "captcha_heads" / "3" / "model.bin"
        weights.write_bytes(weights.read_bytes()[:1000])
        yield victim


@pytest.fixture(scope="module")
def hooks(tmp_path_factory) -> Path:
    """The folder of files that the steps look for."""
    return tmp_path_factory.mktemp("hooks")


@pytest.fixture(scope="module")
def hooked(captcha_repository, tmp_path_factory, hooks) -> Iterator[Victim]:
    """A server whose images are decoded in two processes, with HOOKS."""
    copy = shutil.copytree(captcha_repository, tmp_path_factory.mktemp("hooked") / "repository")
    step = copy / "captcha_preprocess" / "1" / "model.py"
    code = HOOKS.replace("FOLDER", str(hooks)).replace("MEMORY_MIB", str(MEMORY_MIB))
    step.write_text(step.read_text() + code)
    config = copy / "captcha_preprocess" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))
    limits = ("--replica-memory-mib", str(MEMORY_MIB), "--image-timeout-s", str(IMAGE_TIMEOUT_S))
    with Victim("--repository", str(copy), *limits) as hooked:
        yield hooked


def read(victim: Victim, protocol: str = "grpc", image: bytes | Path = CAPTCHA) -> str:
    with Client(getattr(victim, f"{protocol}_url"), protocol=protocol) as client:
        return client.read(image, timeout_s=60).text


def saying(words: str) -> bytes:
    """The CAPTCHA with a comment in its file."""
    png, end = CAPTCHA.read_bytes(), chunk(b"IEND", b"")
    assert png.endswith(end)
    return png.removesuffix(end) + chunk(b"tEXt", b"Comment\0" + words.encode()) + end


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Returns once it holds. AssertionError if it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(victim: Victim, words: str, times: int = 1) -> Callable[[], bool]:
    """Whether the server's log has a line with these words, a regular expression, so often."""
    return lambda: len(re.findall(words, victim.log.read_text())) >= times


def the(name: str, victim: Victim) -> vitals.Process:
    """The process of that name, once the one that it has replaced is gone."""

    def found() -> list[vitals.Process]:
        return [each for each in victim.processes() if each.name == name]

    until(lambda: len(found()) == 1)
    return found()[0]


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("captcha_heads", signal.SIGSTOP),
        ("tritonserver", signal.SIGKILL),
        ("envoy", signal.SIGSTOP),
    ],
)
def test_who_asks_meanwhile_gets_the_right_answer_soon(name, sent, victim):
    """Of a server with one replica, behind the client's own retries: within two starts and 2 s."""
    before = victim.restarts()
    process = the(name, victim)
    os.kill(process.pid, sent)
    began = time.monotonic()
    for protocol in ("grpc", "http"):
        assert read(victim, protocol) == "265649"
    assert time.monotonic() - began < 2 * victim.start_s + 2
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


def test_a_corrupt_version_is_refused_and_the_old_one_serves_on(victim):
    """The one that was overwritten."""
    status, told = reload(victim)
    assert status == 1
    assert re.search(r"not reloaded, what was served is served on: .*captcha_heads: ", told)
    assert told.count("\n") == 1
    assert victim.metric("countersign_model_version")['model="captcha_heads"'] == 3
    assert read(victim) == "265649"


def test_a_version_that_answers_wrongly_is_refused_by_a_signals_reload_too(
    victim, repository, captcha_repository
):
    """Its weights have the right size."""
    heads = repository / "captcha_heads"
    shutil.copytree(captcha_repository / "captcha_heads" / "3", heads / "4")
    misread(heads / "4")
    victim.process.send_signal(signal.SIGHUP)
    until(told(victim, r"W not .* served on: captcha_reader, captcha_plain\.png: read \d{6}, "))


def test_a_good_version_is_switched_to_without_a_lost_request(
    victim, repository, captcha_repository
):
    weights = captcha_repository / "captcha_heads" / "3" / "model.bin"
    shutil.copy(weights, repository / "captcha_heads" / "4" / "model.bin")
    assert reload(victim) == (
        0,
        "reloaded: captcha_heads 4, captcha_postprocess 1, captcha_preprocess 1, "
        "captcha_reader 1\n",
    )
    assert victim.metric("countersign_model_version")['model="captcha_heads"'] == 4
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


def test_an_image_that_ends_its_reader_is_tried_once_more_and_then_refused(hooked):
    """Beside it others are answered, among them one that was under way when the reader ended."""
    before = hooked.restarts()
    image = saying("ends its reader")
    for _ in range(2):
        with pytest.raises(Refused, match="image: 2 processes ended while they looked at it"):
            read(hooked, image=image)
        assert read(hooked) == "265649"
    hooked.wait_until_well(before + 2)
    assert hooked.restarts() == before + 2


def test_one_process_of_several_that_hangs_is_found_by_the_request_that_it_has(hooked, hooks):
    """The samples go to the others."""
    before = hooked.restarts()
    (hooks / "hangs").touch()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(read, hooked, image=saying("hangs"))
        until(told(hooked, "captcha_reader: a request has no answer for .* s, others have; an"))
        (hooks / "hangs").unlink()
        assert answer.result() == "265649"
    hooked.wait_until_well(before + 1)


def test_a_process_that_hangs_is_found_though_its_client_has_left(hooked):
    """Nobody waits for it any more, and the other process answers the samples."""
    before = hooked.restarts()
    with Client(hooked.grpc_url) as client, pytest.raises(DeadlineExceeded):
        client.read(saying("is never read"), timeout_s=1)
    until(told(hooked, r"captcha_preprocess, process \d+, died"))
    hooked.wait_until_well(before + 1)


def test_a_step_that_hangs_in_all_processes_is_replaced(hooked, hooks):
    """None of them died or is stopped."""
    before = hooked.restarts()
    (hooks / "all-hang").touch()
    until(told(hooked, "captcha_reader: no answer for "))
    (hooks / "all-hang").unlink()
    hooked.wait_until_well(before + 1)
    assert read(hooked) == "265649"


def test_a_replica_that_leaks_is_replaced(hooked, hooks):
    before = hooked.restarts()
    (hooks / "leaks").touch()
    until(told(hooked, rf"W replica 1: \d+ MiB, limit {MEMORY_MIB} MiB; another is started"))
    (hooks / "leaks").unlink()
    assert read(hooked) == "265649"
    hooked.wait_until_well(before + 1)


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
