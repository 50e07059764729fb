"""A process of the server: started in a group of its own, and gone with the one that started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from server import vitals

# Python code that becomes the command after it, which ends should its parent be killed. Popen's
# preexec_fn would do, but runs in a fork, which a gRPC client in this process can bring down
PR_SET_PDEATHSIG = 1
BECOME = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, {signal.SIGTERM:d}); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); "
    "os.umask(0o077); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    """`command`, running in `folder`; stdout, with stderr in it, is a pipe of text.

    It gets SIGTERM when the thread that called this ends. Files it makes are its user's alone.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BECOME, str(os.getpid()), *command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches it through end() alone
        errors="replace",
        text=True,
    )


def end(
    process: subprocess.Popen[str], timeout_s: float, done: Callable[[], bool] = lambda: False
) -> None:
    """Ends the process by SIGTERM, and after `timeout_s`, or once it is `done`, all of its group.

    At once where one of the group is stopped, which would hold up all.
    """
    if vitals.fault(vitals.group(process.pid), may_end=True):
        timeout_s = 0
    try:
        process.terminate()
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and not done() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Ends the process's whole group at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
