"""What /proc says of processes that are started, stopped and killed here."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from server import vitals
from server.envoy import Envoy


@pytest.fixture
def child():
    """Sleeps, in a group of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def wait_for(state: str, process: vitals.Process) -> None:
    deadline = time.monotonic() + 5
    while process.state != state and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_stopped_and_a_dead_process_are_told_by_name(child):
    (process,) = vitals.group(child.pid)
    assert vitals.fault([process]) == ""
    child.send_signal(signal.SIGSTOP)
    wait_for("T", process)
    assert vitals.fault([process]) == f"sleep, process {child.pid}, is stopped"
    child.kill()
    wait_for("Z", process)
    assert vitals.fault([process]) == f"sleep, process {child.pid}, died"
    child.wait()
    assert vitals.fault([process]) == f"sleep, process {child.pid}, died"


def test_another_process_of_the_same_number_is_not_taken_for_it(child):
    (process,) = vitals.group(child.pid)
    other = vitals.Process(process.pid, str(int(process.started) - 1), process.name)
    assert vitals.fault([other]) == f"sleep, process {child.pid}, died"


def test_a_step_is_called_by_its_model(tmp_path):
    script = tmp_path / "models" / "captcha_heads" / "2" / "model.py"
    script.parent.mkdir(parents=True)
    script.write_text("input()")
    command = [sys.executable, "models/captcha_heads/2/model.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        while not (vitals.PROC / str(process.pid) / "cmdline").read_bytes():
            pass  # the kernel shows it a moment after the program is there
        assert vitals.name(process.pid) == "captcha_heads"
        assert vitals.working_in(tmp_path.resolve()) == [process.pid]
        process.communicate()
    assert vitals.working_in(tmp_path.resolve()) == []


def test_memory_is_that_which_is_touched():
    (own,) = [one for one in vitals.group(os.getpgrp()) if one.pid == os.getpid()]
    before = vitals.memory_mib([own])
    block = bytearray(os.urandom(1)) * (64 * 2**20)
    assert 60 <= vitals.memory_mib([own]) - before <= 80
    del block


def test_a_front_that_ends_while_it_is_looked_at_is_not_called_stopped(monkeypatch):
    with subprocess.Popen(["true"]) as child:
        process = vitals.Process(child.pid, vitals.stat(child.pid)[19], "envoy")
        while process.state != "Z":
            time.sleep(0.01)
        monkeypatch.setattr(vitals, "group", lambda leader: [process])
        front = object.__new__(Envoy)
        front._process = SimpleNamespace(pid=child.pid, poll=lambda: None)
        front._is_ready = True
        assert front.fault() == ""
