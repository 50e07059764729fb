"""Kills and stops the server's processes one after another, under load, and counts what came of it.

    python -m tests.reliability.chaos [--minutes 30] [--every 20] [--replicas 2] [--users 6]

It starts a server of its own. Each process in turn, of tritonservers, steps and front, gets
SIGKILL, in the next round SIGSTOP; the next has its turn after --every seconds, once all are well.
Exit status 1 if an answer was wrong or, with two replicas and more, lost behind the client's
retries, or if something of the dead was left.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from server import vitals
from server.ports import free_port
from server.settings import ROOT
from tests.reliability.users import Answer, Users

WELL_S = 60  # within which all must be well again
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)


class Victim:
    """`python -m server`, as a user starts it, in a temporary folder of its own."""

    def __init__(self, *options: str) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        ports = [free_port("127.0.0.1") for _ in range(3)]
        self.http_url, self.grpc_url, self.metrics_url = (f"127.0.0.1:{port}" for port in ports)
        names = ("--http-port", "--grpc-port", "--metrics-port")
        chosen = [
            word for name, port in zip(names, ports, strict=True) for word in (name, str(port))
        ]
        self.log = self.folder / "log"
        began = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server", *chosen, *options],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.folder), "COUNTERSIGN_NO_GATEWAY": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while "ready after" not in self.log.read_text():
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)
        self.start_s = time.monotonic() - began

    def __enter__(self) -> "Victim":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._temporary.cleanup()

    def end(self) -> int:
        """The exit status after SIGTERM."""
        self.process.terminate()
        return self.process.wait(90)

    def processes(self) -> list[vitals.Process]:
        """Those that the server has started, but for their starter."""
        own = set(vitals.working_in(self.folder.resolve()))
        found = []
        for pid in sorted(own):
            if fields := vitals.stat(pid):
                found.append(vitals.Process(pid, fields[19], vitals.name(pid)))
        return found

    def metric(self, name: str) -> dict[str, float]:
        """The samples of a family: labels -> value; {} if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics_url}/metrics", timeout=5) as reply:
                text = reply.read().decode()
        except OSError:
            return {}
        found = re.findall(rf"^{name}\{{(.*)\}} (\S+)", text, re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    def restarts(self) -> float:
        """How many there were. RuntimeError if the server has ended."""
        while not (found := self.metric("countersign_restarts_total")):
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        return sum(found.values())

    def wait_until_well(self, restarts: float) -> float:
        """Seconds until there were so many restarts, all replicas are well, and no others left."""
        began = time.monotonic()
        while time.monotonic() - began < WELL_S:
            restarted = self.restarts() >= restarts  # before the states are asked
            states = self.metric("countersign_replica_state")
            well = [value for labels, value in states.items() if 'state="well"' in labels]
            alone = sum(each.name == "tritonserver" for each in self.processes()) == len(well)
            if restarted and well and all(well) and alone:
                return time.monotonic() - began
            time.sleep(0.1)
        raise RuntimeError(f"not well within {WELL_S} s: {self.log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Blow:
    """What was done to which process, and the answers that were asked for until all were well."""

    name: str
    signal: str
    at: float
    repair_s: float


def strike(victim: Victim, name: str, sent: signal.Signals) -> Blow:
    """One blow at a process of that name; returns once all are well."""
    before = victim.restarts()
    process = next(each for each in victim.processes() if each.name == name)
    at = time.monotonic()
    os.kill(process.pid, sent)
    victim.wait_until_well(before + 1)
    return Blow(name, sent.name, at, time.monotonic() - at)


def during(blow: Blow, answers: list[Answer]) -> list[Answer]:
    """The answers that were under way or asked for while it was repaired."""
    end = blow.at + blow.repair_s
    return [one for one in answers if one.at < end and one.at + one.took_s > blow.at]


def bad(answers: list[Answer]) -> tuple[list[str], list[str]]:
    """Why answers were lost, and what was wrong with others."""
    return [one.lost for one in answers if one.lost], [one.wrong for one in answers if one.wrong]


def figures(answers: list[Answer]) -> str:
    took_ms = [one.took_s * 1000 for one in answers if not one.lost] or [0.0]
    p50, p99 = np.percentile(took_ms, (50, 99))
    lost, wrong = map(len, bad(answers))
    counts = f"{len(answers):6d} asked  {sum(one.retries for one in answers):5d} retries"
    counts += f"  {lost:3d} lost  {wrong:3d} wrong"
    return f"{counts}  p50 {p50:6.0f} ms  p99 {p99:6.0f} ms  longest {max(took_ms):6.0f} ms"


def longest_gap_s(answers: list[Answer], begin: float, end: float) -> float:
    """Seconds between two answers, at most."""
    times = sorted(one.at + one.took_s for one in answers if not one.lost)
    inside = [begin, *(at for at in times if begin < at < end)]
    return max((after - before for before, after in pairwise(inside)), default=0.0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--every", type=float, default=20, help="seconds between two blows")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--users", type=int, default=6)
    args = parser.parse_args()
    blows: list[Blow] = []
    ended = time.monotonic() + 60 * args.minutes
    with Victim("--replicas", str(args.replicas)) as victim:
        with Users(victim.http_url, victim.grpc_url, args.users) as users:
            names = sorted({each.name for each in victim.processes()})
            turns = [(name, sent) for sent in SIGNALS for name in names]
            quiet_from = time.monotonic()
            time.sleep(args.every)
            quiet = [one for one in users.answers if one.at > quiet_from]
            print(f"{'before':24}{figures(quiet)}", flush=True)
            while time.monotonic() < ended:
                name, sent = turns[len(blows) % len(turns)]
                began = time.monotonic()
                blows.append(strike(victim, name, sent))
                told = f"{name[:17]} {sent.name[3:]}"
                gap_s = longest_gap_s(users.answers, blows[-1].at, time.monotonic())
                print(
                    f"{told:24}{figures(during(blows[-1], users.answers))}"
                    f"  well after {blows[-1].repair_s:4.1f} s  gap {gap_s:4.1f} s",
                    flush=True,
                )
                time.sleep(max(0.0, began + args.every - time.monotonic()))
            users.end()
        status = victim.end()
        left = [*victim.folder.glob("countersign-*"), *vitals.working_in(victim.folder.resolve())]
        restarts = re.findall(r"^W .*", victim.log.read_text(), re.MULTILINE)
    answers = users.answers
    repairs = [one for blow in blows for one in during(blow, answers)]
    print(f"\n{len(blows)} blows, {len(restarts)} lines of the server's, exit status {status}")
    print(f"{'all':24}{figures(answers)}")
    print(f"{'during repair':24}{figures(repairs)}")
    lost, wrong = bad(answers)
    for text, times in Counter(lost + wrong).most_common(10):
        print(f"{times:6d} x {text}")
    if left:
        print(f"left: {', '.join(map(str, left))}")
    return int(bool(wrong or left or status or (lost and args.replicas > 1)))


if __name__ == "__main__":
    sys.exit(main())
