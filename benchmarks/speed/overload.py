"""More clients than the server can bear: alone, and behind docker/haproxy.cfg, in turn.

    python -m benchmarks.speed.overload --out REPORT [--corpus runs/corpus] [--seconds 20]

needs haproxy. Capacity is taken with 8 clients that wait for their answers; then come random
arrivals at 120 % of it, and 32 clients that wait. REPORT gets overload.json. A refused request is
repeated by the client, and counts as a failure when that ends.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.machine import command, machine
from benchmarks.speed import make_corpus
from benchmarks.speed.load import Load, run
from benchmarks.speed.records import Figures
from server import Settings, Triton
from server.cores import usable_cores
from server.ports import free_port
from server.settings import ROOT

CONFIG = ROOT / "docker" / "haproxy.cfg"
READY_S = 10
OVERLOAD = 1.2  # of capacity


@contextmanager
def front(server: Triton, maxconn: int) -> Iterator[dict[str, str]]:
    """haproxy before `server`, on free ports: the addresses of "http" and "grpc".

    RuntimeError if it passes nothing on within READY_S.
    """
    ports = {"http": free_port("127.0.0.1"), "grpc": free_port("127.0.0.1")}
    text = CONFIG.read_text()
    for old, new in {
        ":9000": f"127.0.0.1:{ports['http']}",
        ":9001": f"127.0.0.1:{ports['grpc']}",
        '"${TRITON}:8000"': server.http_url,
        '"${TRITON}:8001"': server.grpc_url,
    }.items():
        assert old in text
        text = text.replace(old, new)
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(text)
        config.flush()
        limit = {"MAXCONN": str(maxconn)}
        process = subprocess.Popen(["haproxy", "-f", config.name], env=os.environ | limit)
        try:
            wait_for(f"http://127.0.0.1:{ports['http']}/v2/health/ready")
            yield {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        finally:
            process.terminate()
            process.wait(READY_S)


def wait_for(url: str) -> None:
    """Returns when `url` answers. RuntimeError if it does not within READY_S."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url}: {error}") from error
            time.sleep(0.05)


def measure(corpus: Path, seconds: int) -> dict[str, Figures]:
    """The figures of each load, of the server alone and behind the queue."""
    load = Load(users=8, seconds=seconds)
    with Triton(Settings(http_port=0, grpc_port=0, metrics_port=0)) as server:
        alone = server.grpc_url
        found = {"8 clients, alone": run(load, alone, corpus)}
        rate = OVERLOAD * found["8 clients, alone"].throughput
        with front(server, 4 * usable_cores()) as urls:
            for name, more in {
                f"arrivals at {OVERLOAD:.0%}": replace(load, users=1, rate=rate),
                "32 clients": replace(load, users=32),
            }.items():
                for where, url in (("alone", alone), ("behind haproxy", urls["grpc"])):
                    found[f"{name}, {where}"] = run(more, url, corpus)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="made if missing")
    parser.add_argument("--seconds", type=int, default=20, help="of each load")
    args = parser.parse_args()
    if not shutil.which("haproxy"):
        parser.error("haproxy is not installed; on Debian and Ubuntu: apt-get install haproxy")
    args.out.mkdir(parents=True, exist_ok=True)
    make_corpus.write(args.corpus)
    found = measure(args.corpus, args.seconds)
    loads = {name: asdict(figures) for name, figures in found.items()}
    report = {"loads": loads, "command": command(), "machine": machine()}
    (args.out / "overload.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{'':36}{'right/s':>8}{'p50, ms':>9}{'p99, ms':>9}{'failures':>9}{'requests':>9}")
    for name, each in found.items():
        speed = f"{each.throughput:8.1f}{each.latency.p50:9.0f}{each.latency.p99:9.0f}"
        print(f"{name:36}{speed}{each.failures:9d}{each.all_requests:9d}")


if __name__ == "__main__":
    main()
