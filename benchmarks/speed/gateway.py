"""What the gateway costs: the same pages over gRPC and posted to it, in turns, on one server.

    python -m benchmarks.speed.gateway [--turns 5] [--seconds 8]

Two minutes. `make bench` measures the same beside the rest.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.speed import make_corpus
from benchmarks.speed.bench import ANY_PORTS, QUICK, contend
from benchmarks.speed.load import Load
from benchmarks.speed.ratios import (
    GATEWAY,
    ONE_PAGE,
    PAGE,
    PAGES,
    SERVED,
    gateway_rows,
    p50,
    throughput,
)
from benchmarks.speed.records import Speed
from benchmarks.speed.verdicts import against_targets, read_targets
from server import Server
from server.gateway import Gateway


def measure(folder: Path, turns: int, seconds: int) -> dict[str, dict[str, list[Speed]]]:
    """The speeds of SERVED and GATEWAY, by load."""
    speeds: dict[str, dict[str, list[Speed]]] = defaultdict(lambda: defaultdict(list))
    plan = replace(QUICK, short_s=seconds)
    with Server(ANY_PORTS) as server, Gateway(server.settings) as gateway:
        for _ in range(turns):
            contend(speeds[SERVED], server.grpc_url, folder, plan, Load(), (ONE_PAGE, PAGES))
            sent = Load(protocol="gateway")
            contend(speeds[GATEWAY], gateway.url, folder, plan, sent, (ONE_PAGE, PAGES))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="made if missing")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="of each load")
    args = parser.parse_args()
    make_corpus.write(args.corpus, QUICK.files, kinds=(PAGE,))
    speeds = measure(args.corpus, args.turns, args.seconds)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    for name, by_load in speeds.items():
        ones = ", ".join(f"{p50(speed):.1f}" for speed in by_load[ONE_PAGE])
        rates = ", ".join(f"{throughput(speed):.1f}" for speed in by_load[PAGES])
        print(f"{name:8}  p50 of one client {ones} ms; 8 clients {rates} pages/s")
    for each in against_targets(gateway_rows(speeds), read_targets()):
        print(f"{each.row:18} {each.value:6.2f}  limit {each.limit:5.2f}  {each.state}")


if __name__ == "__main__":
    main()
