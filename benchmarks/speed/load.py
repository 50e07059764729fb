"""One run of the locust file in a process of its own, and what its requests came to."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.speed.corpus import MIX
from benchmarks.speed.records import Figures, Latency
from server.settings import ROOT

WARM_UP = 0.2  # share of a run's time that is left out of its figures
STOP_TIMEOUT_S = 60  # for answers under way when the time is up

Row = tuple[str, float, float, str]  # kind, due (s), latency (ms), what went wrong


@dataclass(frozen=True)
class Load:
    """What locust does. `rate` > 0, in files a second, makes the loop open."""

    users: int = 1
    seconds: int = 10  # including start and warm-up; without meaning if `requests`
    rate: float = 0
    requests: int = 0  # stop after so many
    kind: str = MIX
    protocol: str = "grpc"
    checked: bool = True  # a wrong answer is a failure


def run(load: Load, url: str, corpus: Path) -> Figures:
    """The figures of one run against `url` (host:port).

    RuntimeError with locust's last words if it ran no request.
    """
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.json"
        done = subprocess.run(
            command_line(load, url, corpus, records),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=None if load.requests else load.seconds + 2 * STOP_TIMEOUT_S,
            check=False,  # 1 if a request failed, which the figures say
        )
        if not records.exists():
            raise RuntimeError(f"locust, exit {done.returncode}: {done.stderr[-2000:]}")
        found = json.loads(records.read_text())
    return figures(found["requests"], found["client_cpu_s"])


def command_line(load: Load, url: str, corpus: Path, records: Path) -> list[str]:
    """locust's arguments."""
    options = {
        "locustfile": "benchmarks/speed/locustfile.py",
        "host": url,
        "users": load.users,
        "spawn-rate": load.users,
        "stop-timeout": STOP_TIMEOUT_S,
        "corpus": corpus.resolve(),
        "kind": load.kind,
        "protocol": load.protocol,
        "rate": load.rate,
        "requests": load.requests,
        "records": records,
    }
    flags = ["--headless", "--only-summary", "--skip-log-setup"]
    flags += [] if load.checked else ["--unchecked"]
    flags += [] if load.requests else ["--run-time", f"{load.seconds}s"]
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    loop = "OpenLoop" if load.rate else "ClosedLoop"
    return [sys.executable, "-m", "locust", *flags, *words, loop]


def figures(requests: Sequence[Row], client_cpu_s: float) -> Figures:
    """What the requests came to after the warm-up; `client_cpu_s` is the load generator's.

    Requests count if they were due after WARM_UP of the time between the first and the last;
    answers a second are those that came in the rest of that time. ValueError under two requests.
    """
    kinds = np.array([row[0] for row in requests])
    due = np.array([row[1] for row in requests])
    latency = np.array([row[2] for row in requests])
    right = np.array([not row[3] for row in requests])
    if len(set(due.tolist())) < 2:
        raise ValueError(f"{len(requests)} requests, too few for any figure")
    begin, end = due.min() + WARM_UP * np.ptp(due), due.max()
    counted = due >= begin
    came = due + latency / 1000
    in_time = right & (came >= begin) & (came <= end)
    wrong = [row[3] for row in requests if row[3]]
    return Figures(
        all_requests=len(requests),
        requests=int(counted.sum()),
        throughput=float(in_time.sum() / (end - begin)),
        failures=len(wrong),
        first_failure=wrong[0] if wrong else "",
        latency=Latency.of(latency[counted]),
        by_kind={
            kind: Latency.of(latency[counted & (kinds == kind)])
            for kind in sorted(set(kinds[counted].tolist()))
        },
        client_cpu_ms=client_cpu_s * 1000 / len(requests),
    )
