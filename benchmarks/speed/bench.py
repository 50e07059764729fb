"""`make bench`: everything in turn on one machine, as one HTML page and JSON.

    python -m benchmarks.speed.bench --out DIR [--checkpoint best.pt] [--quick]

The limit of these cores, the server under its loads, a soak, then server and peers in turn. Peers
that need an ONNX get the checkpoint's, or one of random weights: as fast, but their answers are not
compared. About 22 minutes; --quick takes five, to see that all of it runs. Overload is measured
behind haproxy, which has to be installed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.in_process import chained, detector_stages, document_detector
from benchmarks.machine import command, machine
from benchmarks.speed import limit, make_corpus, report
from benchmarks.speed.corpus import MIX, SHARES
from benchmarks.speed.load import Load, run
from benchmarks.speed.overload import front
from benchmarks.speed.peers.run import PROVIDERS, onnx_runtime, peer
from benchmarks.speed.peers.weights import SERVED, USUAL
from benchmarks.speed.server_cost import (
    Memory,
    cpu_s,
    processes,
    shm_mib,
    step_ms,
    step_times,
    tritonserver,
)
from benchmarks.speed.verdicts import against_targets, read_targets
from countersign import Client
from server import Settings, Triton
from server.cores import usable_cores
from server.settings import ROOT

ANY_PORTS = Settings(http_port=0, grpc_port=0, metrics_port=0)
PAGE, LARGE = "a4_150_jpeg", "a4_300_jpeg"
CLIENTS = 8  # at which capacity is taken
OPEN = (0.5, 0.7, 0.9, 1.2)  # shares of capacity
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
    clients=(1, 8),
    short_s=4,
    long_s=4,
    soak=60,
    memory_every_s=0.2,
    repeats=1,
)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def loader(server: Triton, folder: Path) -> Callable[[Load], dict]:
    """A function that runs a load on the server."""

    def on(load: Load) -> dict:
        url = server.http_url if load.protocol == "http" else server.grpc_url
        found = run(load, url, folder)
        say(f"{load}: {found['throughput']:.1f}/s, p50 {found['latency_ms']['p50']:.1f} ms")
        return found

    return on


def served(folder: Path, plan: Plan) -> dict:
    """The server under every profile, and what it costs."""
    began = time.perf_counter()
    with Triton(ANY_PORTS) as server:
        found: dict = {"start_s": time.perf_counter() - began}
        on = loader(server, folder)
        short, long = Load(seconds=plan.short_s), Load(seconds=plan.long_s)
        found["one_client"] = {kind: on(replace(short, kind=kind)) for kind in plan.kinds}
        found["one_client_http"] = on(replace(short, kind=PAGE, protocol="http"))
        found["steps_ms"] = one_client_steps(server, folder, plan)
        for kind in (MIX, PAGE):
            found[f"closed, {kind}"] = {
                str(users): on(replace(long, users=users, kind=kind)) for users in plan.clients
            }
        found["capacity"] = {
            kind: on(replace(short, users=CLIENTS, kind=kind)) for kind in plan.kinds
        }
        mixed = found[f"closed, {MIX}"][str(CLIENTS)]["throughput"]
        found["open"] = {str(part): on(replace(long, rate=mixed * part)) for part in OPEN}
        with front(server, 4 * usable_cores()) as urls:
            over_it = replace(long, rate=mixed * max(OPEN))
            found["behind_haproxy"] = run(over_it, urls["grpc"], folder)
        found["cpu_ms"] = cpu_by_stage(on, replace(long, users=4), (PAGE, LARGE, "captcha"))
        with Memory(tritonserver(), plan.memory_every_s) as memory:
            found["soak"] = on(Load(users=CLIENTS, requests=plan.soak))
        found["memory"] = memory.rows
        found["shm_mib"] = shm_mib()
    return found


def one_client_steps(server: Triton, folder: Path, plan: Plan) -> dict[str, float]:
    """Mean ms of each step when pages come one at a time, by Triton's statistics."""
    before = step_times(server.http_url)
    with Client(server.grpc_url) as client:
        limit.timed(client.detect, limit.read(folder, PAGE), plan.short_s)
    return step_ms(before, step_times(server.http_url))


def cpu_by_stage(on: Callable[[Load], dict], load: Load, kinds: tuple[str, ...]) -> dict:
    """CPU ms a page of each of the server's processes, and of the load generator."""
    parts = processes(tritonserver())
    found = {}
    for kind in kinds:
        before = cpu_s(parts)
        figures = on(replace(load, kind=kind))
        after = cpu_s(parts)
        spent = {name: after[name] - before[name] for name in parts}
        pages = figures["all_requests"]
        found[kind] = {name: used * 1000 / pages for name, used in spent.items() if used}
        found[kind]["load generator"] = figures["client_cpu_ms"]
    return found


def in_turn(folder: Path, onnx: Path, plan: Plan) -> dict[str, list[dict]]:
    """Server and peers one after the other, `repeats` times: each one's figures of each turn."""
    turns = defaultdict(list)
    for number in range(plan.repeats):
        say(f"turn {number + 1} of {plan.repeats}")
        with Triton(ANY_PORTS) as server:
            turns["served"].append(contender(server.grpc_url, folder, plan, Load()))
        for name, module in PEERS.items():
            arguments = ["--onnx", str(onnx / USUAL)] if name == "FastAPI" else []
            sent = Load(protocol="peer", checked=name != "FastAPI")
            with peer(module, arguments) as (url, _):
                turns[name].append(contender(url, folder, plan, sent))
            say(f"{name}: {turns[name][-1][f'{PAGE}, {CLIENTS}']['throughput']:.1f} pages/s")
        for name, figures in without_server(folder, onnx, plan).items():
            turns[name].append(figures)
    return dict(turns)


def without_server(folder: Path, onnx: Path, plan: Plan) -> dict[str, dict[str, dict]]:
    """The same work in one process, on the served IR and on ONNX Runtime, and a process a core."""
    images = limit.read(folder, PAGE)
    works = {"in process": document_detector()} | {
        f"ONNX Runtime, {provider}": chained(detector_stages(onnx_runtime(onnx / SERVED, provider)))
        for provider in PROVIDERS
    }
    found = {
        name: {f"{PAGE}, 1": limit.one_at_a_time(work, images, plan.short_s)}
        for name, work in works.items()
    }
    with limit.Workers(captcha=False) as workers:
        rate = workers.throughput(images, plan.short_s)
    return found | {"a process a core": {f"{PAGE}, {CLIENTS}": {"throughput": rate}}}


def contender(url: str, folder: Path, plan: Plan, load: Load) -> dict[str, dict]:
    """One server's figures: one client and CLIENTS at 150 dpi, CLIENTS at 300 dpi."""
    load = replace(load, seconds=plan.short_s)
    run(replace(load, users=CLIENTS, seconds=2, kind=PAGE), url, folder)  # warms it up
    runs = ((PAGE, 1), (PAGE, CLIENTS), (LARGE, CLIENTS))
    return {
        f"{kind}, {users}": run(replace(load, users=users, kind=kind), url, folder)
        for kind, users in runs
    }


def rows(found: dict) -> dict[str, list[float]]:
    """The figures that have targets, a value for each turn where there were several."""
    own, bound = found["served"], found["limit"]
    page = f"{PAGE}, {CLIENTS}"
    loaded = own["open"]["0.7"]["by_kind"][PAGE]
    capacity = own[f"closed, {MIX}"][str(CLIENTS)]["throughput"]
    captchas = bound["workers"]["captcha"]["throughput"]
    settled = [row for row in own["memory"] if row[0] >= own["memory"][-1][0] / 4]
    return {
        "page latency": over(found, "in process", f"{PAGE}, 1", latency("p50")),
        "page capacity": over(found, "a process a core", page, throughput),
        "captcha latency": [own["one_client"]["captcha"]["latency_ms"]["p50"]],
        "captcha capacity": [own["capacity"]["captcha"]["throughput"] / captchas],
        "start": [own["start_s"]],
        "tail at 70 % load": [loaded["p99"] / loaded["p50"]],
        "goodput at 120 % load": [own["behind_haproxy"]["throughput"] / capacity],
        "FastAPI, capacity at 150 dpi": over(found, "FastAPI", page, throughput),
        "FastAPI, capacity at 300 dpi": over(found, "FastAPI", f"{LARGE}, {CLIENTS}", throughput),
        "FastAPI, p50 at 8 clients": over(found, "FastAPI", page, latency("p50")),
        "LitServe, capacity at 150 dpi": over(found, "LitServe", page, throughput),
        "LitServe, p99 at 8 clients": over(found, "LitServe", page, latency("p99")),
        "memory over the soak": [settled[-1][1] / settled[0][1]],
        "shared memory over the soak": [settled[-1][2] / settled[0][2]],
    }


def allowed(found: dict) -> dict[str, float]:
    """What the rows could reach at best if the work itself took no longer than without a server.

    Transport and the load generator take CPU time of the same cores; files that come at random
    wait for each other.
    """
    workers = found["limit"]["workers"]
    cpu_ms = {kind: own["workers"] * 1000 / own["throughput"] for kind, own in workers.items()}

    def beside(kind: str) -> float:
        spent = found["served"]["cpu_ms"][kind]
        return cpu_ms[kind] / (cpu_ms[kind] + spent["transport"] + spent["load generator"])

    return {
        "page capacity": beside(PAGE),
        "captcha capacity": beside("captcha"),
        "tail at 70 % load": limit.ideal_tail(cpu_ms, workers[PAGE]["workers"], 0.7, PAGE),
    }


def throughput(figures: dict) -> float:
    return figures["throughput"]


def latency(name: str) -> Callable[[dict], float]:
    return lambda figures: figures["latency_ms"][name]


def over(found: dict, name: str, load: str, figure: Callable[[dict], float]) -> list[float]:
    """The server's figure over a peer's, turn by turn."""
    pairs = zip(found["turns"]["served"], found["turns"][name], strict=True)
    return [figure(own[load]) / figure(other[load]) for own, other in pairs]


def write_onnx(out: Path, checkpoint: Path | None) -> Path:
    """The peers' ONNX files, made in a process of its own: it needs torch."""
    given = ["--checkpoint", str(checkpoint)] if checkpoint else []
    words = [sys.executable, "-m", "benchmarks.speed.peers.weights", "--out", str(out), *given]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return out


def measure(folder: Path, out: Path, plan: Plan, checkpoint: Path | None) -> dict:
    """All figures of a run, as they go into report.json."""
    say("corpus")
    make_corpus.write(folder, plan.files, kinds=plan.kinds)
    onnx = write_onnx(out / "onnx", checkpoint)
    say("limit")
    found = {
        "command": command(),
        "machine": machine() | {name: version(name) for name in ("locust", "onnxruntime-openvino")},
        "peers_weights": "the checkpoint's" if checkpoint else "random",
        "limit": limit.measure(folder, plan.kinds, plan.short_s),
        "served": served(folder, plan),
        "turns": in_turn(folder, onnx, plan),
    }
    return found | {"rows": rows(found), "allowed": allowed(found)}


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
    if not shutil.which("haproxy"):
        parser.error("haproxy is not installed; on Debian and Ubuntu: apt-get install haproxy")
    args.out.mkdir(parents=True, exist_ok=True)
    found = measure(args.corpus, args.out, plan, args.checkpoint)
    (args.out / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    verdicts = against_targets(found["rows"], read_targets())
    (args.out / "report.html").write_text(report.page(found, verdicts))
    for each in verdicts:
        print(f"{each.row:32} {each.value:8.2f}  limit {each.limit:5.2f}  {each.state}")
    print(f"report: {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
