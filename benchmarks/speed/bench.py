"""`make bench`: everything in turn on one machine, as one HTML page and JSON.

    python -m benchmarks.speed.bench --out DIR [--checkpoint best.pt] [--quick]

The limit of these cores, the server under its loads, a soak, then in turn the server, the gateway
before it, tritonserver without the front, and peers. Peers that need an ONNX get the checkpoint's,
or one of random weights: as fast, but their answers are not compared. About 26 minutes; --quick
takes five, to see that all of it runs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.machine import command, machine
from benchmarks.speed import limit, make_corpus, report
from benchmarks.speed.corpus import MIX, SHARES
from benchmarks.speed.load import Load, run
from benchmarks.speed.peers import weights
from benchmarks.speed.peers.run import PROVIDERS, onnx_detector, peer
from benchmarks.speed.ratios import (
    ALONE,
    CLIENTS,
    GATEWAY,
    LARGE,
    LOADS,
    ONE_PAGE,
    PAGE,
    PAGES,
    SERVED,
    allowed,
    rows,
)
from benchmarks.speed.records import Figures, Run, Served, Speed
from benchmarks.speed.server_cost import (
    LOAD_GENERATOR,
    Memory,
    cpu_s,
    processes,
    step_ms,
    step_times,
    tritonserver,
)
from benchmarks.speed.verdicts import against_targets, read_targets
from countersign import Client
from inprocess import Detector
from server import Server, Settings, Triton
from server.gateway import Gateway
from server.settings import ROOT

ANY_PORTS = Settings(http_port=0, grpc_port=0, metrics_port=0, gateway_port=0)
ARRIVALS = (0.5, 0.7, 0.9, 1.2)  # shares of capacity
PEERS = {"FastAPI": "fastapi_ultralytics", "LitServe": "litserve_openvino"}


@dataclass(frozen=True)
class Plan:
    """How long a run takes."""

    files: int = 4  # of each kind
    kinds: tuple[str, ...] = tuple(SHARES)
    clients: tuple[int, ...] = (1, 4, 8, 16, 32)
    short_s: int = 7
    long_s: int = 16
    soak: int = 10_000  # requests
    memory_every_s: float = 2
    repeats: int = 3  # of server and peers in turn


QUICK = Plan(
    files=1,
    kinds=(PAGE, LARGE, "captcha"),
    clients=(1, 8, 32),
    short_s=4,
    long_s=4,
    soak=60,
    memory_every_s=0.2,
    repeats=1,
)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def loader(server: Server, folder: Path) -> Callable[[Load], Figures]:
    """A function that runs a load on the server."""

    def on(load: Load) -> Figures:
        url = server.http_url if load.protocol == "http" else server.grpc_url
        found = run(load, url, folder)
        say(f"{load}: {found.throughput:.1f}/s, p50 {found.latency.p50:.1f} ms")
        return found

    return on


def serve(folder: Path, plan: Plan) -> Served:
    """The server under every profile, and what it costs."""
    began = time.perf_counter()
    with Server(ANY_PORTS) as server:
        start_s = time.perf_counter() - began
        on = loader(server, folder)
        short, long = Load(seconds=plan.short_s), Load(seconds=plan.long_s)
        one_client = {kind: on(replace(short, kind=kind)) for kind in plan.kinds}
        one_client_http = on(replace(short, kind=PAGE, protocol="http"))
        steps_ms = one_client_steps(server, folder, plan)
        closed = {
            kind: {users: on(replace(long, users=users, kind=kind)) for users in plan.clients}
            for kind in (MIX, PAGE)
        }
        capacity = {kind: on(replace(short, users=CLIENTS, kind=kind)) for kind in plan.kinds}
        mixed = closed[MIX][CLIENTS].throughput
        arrivals = {share: on(replace(long, rate=mixed * share)) for share in ARRIVALS}
        cpu_ms = cpu_by_stage(on, replace(long, users=4), (PAGE, LARGE, "captcha"))
        with Memory(tritonserver(), plan.memory_every_s) as memory:
            soak = on(Load(users=CLIENTS, requests=plan.soak))
    return Served(
        start_s=start_s,
        one_client=one_client,
        one_client_http=one_client_http,
        steps_ms=steps_ms,
        closed=closed,
        capacity=capacity,
        arrivals=arrivals,
        cpu_ms=cpu_ms,
        soak=soak,
        memory=memory.samples,
    )


def one_client_steps(server: Server, folder: Path, plan: Plan) -> dict[str, float]:
    """Mean ms of each step when pages come one at a time, by Triton's statistics."""
    before = step_times(server.http_url)
    with Client(server.grpc_url) as client:
        limit.timed(client.detect, limit.read(folder, PAGE), plan.short_s)
    return step_ms(before, step_times(server.http_url))


def cpu_by_stage(
    on: Callable[[Load], Figures], load: Load, kinds: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """CPU ms a page of each of the server's processes, and of the load generator, by kind."""
    parts = processes(tritonserver())
    found = {}
    for kind in kinds:
        before = cpu_s(parts)
        figures = on(replace(load, kind=kind))
        after = cpu_s(parts)
        spent = {name: (after[name] - before[name]) * 1000 for name in parts}
        pages = figures.all_requests
        found[kind] = {name: used / pages for name, used in spent.items() if used}
        found[kind][LOAD_GENERATOR] = figures.client_cpu_ms
    return found


def take_turns(
    folder: Path, onnx: Path, plan: Plan
) -> tuple[dict[str, dict[str, list[Speed]]], list[float]]:
    """Server and others one after the other, `repeats` times: Run's turns and a_process_a_core."""
    turns: dict[str, dict[str, list[Speed]]] = defaultdict(lambda: defaultdict(list))
    cores = []
    images = limit.read(folder, PAGE)
    alone = {"in process": Detector(ANY_PORTS.repository)} | {
        f"ONNX Runtime, {provider}": onnx_detector(onnx / weights.SERVED, provider)
        for provider in PROVIDERS
    }
    for number in range(plan.repeats):
        say(f"turn {number + 1} of {plan.repeats}")
        for name, kind in {SERVED: Server, ALONE: Triton}.items():
            with kind(ANY_PORTS) as server:
                contend(turns[name], server.grpc_url, folder, plan, Load())
                if name == SERVED:
                    with Gateway(server.settings) as gateway:
                        sent = Load(protocol="gateway")
                        contend(turns[GATEWAY], gateway.url, folder, plan, sent)
        for name, module in PEERS.items():
            arguments = ["--onnx", str(onnx / weights.USUAL)] if name == "FastAPI" else []
            sent = Load(protocol="peer", checked=name != "FastAPI")
            with peer(module, arguments) as (url, _):
                contend(turns[name], url, folder, plan, sent)
            say(f"{name}: {turns[name][PAGES][-1].throughput:.1f} pages/s")
        for name, detector in alone.items():
            speed = limit.one_at_a_time(detector.detect, images, plan.short_s)
            turns[name][ONE_PAGE].append(speed)
        with limit.Workers(captcha=False) as workers:
            cores.append(workers.throughput(images, plan.short_s))
    return {name: dict(speeds) for name, speeds in turns.items()}, cores


def contend(
    speeds: dict[str, list[Speed]],
    url: str,
    folder: Path,
    plan: Plan,
    load: Load,
    names: Iterable[str] = LOADS,
) -> None:
    """Adds one turn of a server to its speeds, under each of the LOADS of these names."""
    load = replace(load, seconds=plan.short_s)
    run(replace(load, users=CLIENTS, seconds=2, kind=PAGE), url, folder)  # warms it up
    for name in names:
        kind, users = LOADS[name]
        found = run(replace(load, users=users, kind=kind), url, folder)
        speeds[name].append(Speed(found.latency, found.throughput))


def write_onnx(out: Path, checkpoint: Path | None) -> Path:
    """The peers' ONNX files, made in a process of its own: it needs torch."""
    options = ["--out", str(out), *(["--checkpoint", str(checkpoint)] if checkpoint else [])]
    words = [sys.executable, "-m", "benchmarks.speed.peers.weights", *options]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return out


def measure(folder: Path, out: Path, plan: Plan, checkpoint: Path | None) -> Run:
    """All figures of a run."""
    say("corpus")
    make_corpus.write(folder, plan.files, kinds=plan.kinds)
    onnx = write_onnx(out / "onnx", checkpoint)
    say("limit")
    alone = limit.measure(folder, plan.kinds, plan.short_s)
    served = serve(folder, plan)
    turns, a_process_a_core = take_turns(folder, onnx, plan)
    return Run(
        command=command(),
        machine=machine() | {name: version(name) for name in ("locust", "onnxruntime-openvino")},
        peers_weights="the checkpoint's" if checkpoint else "random",
        limit=alone,
        served=served,
        turns=turns,
        a_process_a_core=a_process_a_core,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="of the report")
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="made if missing")
    parser.add_argument("--checkpoint", type=Path, help="the detector's, for peers on ONNX")
    parser.add_argument("--quick", action="store_true", help="five minutes, no figures to publish")
    parser.add_argument("--soak", type=int, help="requests of the soak")
    parser.add_argument("--repeats", type=int, help="turns of server and peers")
    args = parser.parse_args()
    plan = QUICK if args.quick else Plan()
    plan = replace(plan, soak=args.soak or plan.soak, repeats=args.repeats or plan.repeats)
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("COUNTERSIGN_GATEWAY_DATA", str((args.out / "log").resolve()))
    found = measure(args.corpus, args.out, plan, args.checkpoint)
    ratios = rows(found)
    figures = asdict(found) | {"rows": ratios, "allowed": allowed(found)}
    (args.out / "report.json").write_text(json.dumps(figures, indent=1) + "\n")
    verdicts = against_targets(ratios, read_targets())
    (args.out / "report.html").write_text(report.page(found, verdicts, allowed(found)))
    for each in verdicts:
        print(f"{each.row:32} {each.value:8.2f}  limit {each.limit:5.2f}  {each.state}")
    print(f"report: {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
