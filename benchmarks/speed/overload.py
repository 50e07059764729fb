"""More clients than the server can bear: tritonserver alone, and behind the front, in turn.

    python -m benchmarks.speed.overload --out REPORT [--corpus runs/corpus] [--seconds 20]

Capacity is taken with 8 clients that wait for their answers; then come random arrivals at 120 %
of it, and 32 clients that wait. REPORT gets overload.json. A refused request is repeated by the
client, and counts as a failure when that ends.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.machine import command, machine
from benchmarks.speed import make_corpus
from benchmarks.speed.load import Load, run
from benchmarks.speed.records import Figures
from server import Server, Settings, Triton

OVERLOAD = 1.2  # of capacity


def measure(corpus: Path, seconds: int) -> dict[str, Figures]:
    """The figures of each load, of tritonserver alone and behind the front."""
    load = Load(users=8, seconds=seconds)
    settings = Settings(http_port=0, grpc_port=0, metrics_port=0)
    found: dict[str, Figures] = {}
    rate = 0.0
    for where, kind in (("alone", Triton), ("behind the front", Server)):
        with kind(settings) as server:
            found[f"8 clients, {where}"] = run(load, server.grpc_url, corpus)
            rate = rate or OVERLOAD * found["8 clients, alone"].throughput
            for name, more in {
                f"arrivals at {OVERLOAD:.0%}": replace(load, users=1, rate=rate),
                "32 clients": replace(load, users=32),
            }.items():
                found[f"{name}, {where}"] = run(more, server.grpc_url, corpus)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="made if missing")
    parser.add_argument("--seconds", type=int, default=20, help="of each load")
    args = parser.parse_args()
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
