"""What comparing costs: pages a second, and ms of one client, with a roll-out and without.

    python -m benchmarks.speed.rollout --rounds 6

It starts a server of its own. On trial, in the shadow, is a copy of the served version of
document_yolo, so that all that differs is what comparing takes. With and without it come in turn;
each round asks with one client, then with eight.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.speed.check import CLIENTS, client_rate, p50
from countersign import Client
from inprocess.repository import newest_version
from server import Server, Settings
from server.readiness import call, unix
from server.settings import ROOT

MODEL = "document_yolo"
PAGE = ROOT / "server" / "samples" / "page_150dpi.jpg"
WARM_UP_S = 3
STARTS_S = 300


def command(server: Server, action: str, **options: object) -> None:
    """What `python -m server rollout` asks of a server."""
    control = unix(server.folder, "control.sock")
    call(control, f"/rollout/{action}", STARTS_S, json.dumps(options).encode())


def compared(server: Server) -> int:
    """Pages so far of the roll-out under way."""
    status = json.loads(call(unix(server.folder, "control.sock"), "/rollout", STARTS_S))
    return status["under_way"]["compared"]["pages"]


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5, help="of a load")
    asked = parser.parse_args()
    print(machine(), file=sys.stderr)
    images = [PAGE.read_bytes()]
    figures: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(shutil.copytree(Settings().repository, Path(folder) / "repository"))
        settings = Settings(repository=repository, http_port=0, grpc_port=0, metrics_port=0)
        served = newest_version(repository / MODEL)
        with Server(settings) as server, Client(server.grpc_url) as client:
            shutil.copytree(repository / MODEL / str(served), repository / MODEL / str(served + 1))
            client_rate(client, images, False, WARM_UP_S)
            for number in range(asked.rounds):
                for way in sorted(figures, reverse=number % 2 == 0):
                    if way == "with":
                        trial = {"model": MODEL, "version": served + 1, "shadow": True}
                        command(server, "start", **trial)
                        client_rate(client, images, False, WARM_UP_S)
                    found = {
                        "p50_ms": p50(client.detect, images, asked.seconds),
                        "pages_per_s": client_rate(client, images, False, asked.seconds),
                    }
                    if way == "with":
                        found["compared"] = compared(server)
                        command(server, "back")
                    figures[way].append(found)
                    print(json.dumps({way: found}), flush=True)
    for name, what in {"p50_ms": "1 client", "pages_per_s": f"{CLIENTS} clients"}.items():
        pairs = zip(figures["with"], figures["without"], strict=True)
        ratios = [compared[name] / plain[name] for compared, plain in pairs]
        median = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"{what}, {name}, with over without: {median}")


if __name__ == "__main__":
    main()
