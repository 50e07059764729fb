"""How processes are, as /proc has it: alive, stopped, how large."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STEP = re.compile(r"([^/\0]+)/\d+/[^/\0]+\0")  # a stub's argument: models/MODEL/1/model.py
GONE = {"", "X", "Z"}
STOPPED = "T"  # by a signal, not by a debugger


@dataclass(frozen=True)
class Process:
    """A process that was there once."""

    pid: int
    started: str  # in ticks since the machine's start: another process may get the same pid
    name: str  # of a step its model's, else the program's

    @property
    def state(self) -> str:
        """The letter that ps shows; "" if it is no more."""
        found = stat(self.pid)
        return found[0] if found and found[19] == self.started else ""


def stat(pid: int) -> list[str]:
    """The fields of a process's stat from its state on; [] if it is no more."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def pids() -> Iterator[int]:
    """Of all processes that this one can see."""
    return (int(path.name) for path in PROC.glob("[0-9]*"))


def group(leader: int) -> list[Process]:
    """The processes of a group that are alive."""
    found = ((pid, stat(pid)) for pid in pids())
    return [
        Process(pid, fields[19], name(pid))
        for pid, fields in found
        if fields and fields[2] == str(leader) and fields[0] not in GONE
    ]


def name(pid: int) -> str:
    """What a process is called: by its model if it is a step."""
    with suppress(OSError):
        if step := STEP.search((PROC / str(pid) / "cmdline").read_text(errors="replace")):
            return step[1]
        return (PROC / str(pid) / "comm").read_text().strip()
    return str(pid)


def fault(processes: Iterable[Process], may_end: bool = False) -> str:
    """Which process is stopped or, unless it may, has ended; "" if none."""
    for process in processes:
        state = process.state
        if state in GONE and not may_end:
            return f"{process.name}, process {process.pid}, died"
        if state == STOPPED:
            return f"{process.name}, process {process.pid}, is stopped"
    return ""


def memory_mib(processes: Iterable[Process]) -> int:
    """What they have in memory, what they share counted once (proportional set size)."""
    kib = 0
    for process in processes:
        with suppress(OSError):
            text = (PROC / str(process.pid) / "smaps_rollup").read_text()
            kib += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    return kib // 1024


def working_in(folder: Path) -> list[int]:
    """The processes of this user whose working directory is `folder` or lies in it."""
    found = []
    for pid in pids():
        with suppress(OSError):
            if (PROC / str(pid) / "cwd").readlink().is_relative_to(folder):
                found.append(pid)
    return found
