"""The figures of a run that have targets: ratios of what was measured in the same run."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.speed import limit
from benchmarks.speed.corpus import MIX
from benchmarks.speed.records import Run, Speed
from benchmarks.speed.server_cost import FRONT, LOAD_GENERATOR, TRANSPORT

PAGE, LARGE = "a4_150_jpeg", "a4_300_jpeg"
CLIENTS = 8  # at which capacity is taken
CROWD = 32  # clients, more than the cores bear
LOAD = 0.7  # share of capacity at which the tail is taken
SERVED, ALONE = "served", "Triton alone"  # with and without the front
GATEWAY = "gateway"  # before the same server, over HTTP
# What server and peers are asked in each turn: name -> kind and clients
ONE_PAGE, PAGES, LARGE_PAGES = f"{PAGE}, 1", f"{PAGE}, {CLIENTS}", f"{LARGE}, {CLIENTS}"
LOADS = {ONE_PAGE: (PAGE, 1), PAGES: (PAGE, CLIENTS), LARGE_PAGES: (LARGE, CLIENTS)}


def rows(run: Run) -> dict[str, list[float]]:
    """The rows of targets.yaml, a value for each turn where there were several."""
    served, workers = run.served, run.limit.workers
    tail = served.arrivals[LOAD].by_kind[PAGE]
    capacity = served.closed[MIX][CLIENTS].throughput
    end = served.memory[-1]
    settled = next(each for each in served.memory if each.seconds >= end.seconds / 4)
    turns = run.turns[SERVED]
    pages = [speed.throughput for speed in turns[PAGES]]
    pairs = zip(turns[ONE_PAGE], run.turns[ALONE][ONE_PAGE], strict=True)
    return {
        "page latency": over(run, "in process", ONE_PAGE, p50),
        "page capacity": [a / b for a, b in zip(pages, run.a_process_a_core, strict=True)],
        "captcha latency": [served.one_client["captcha"].latency.p50],
        "captcha capacity": [served.capacity["captcha"].throughput / workers["captcha"].throughput],
        "start": [served.start_s],
        "tail at 70 % load": [tail.p99 / tail.p50],
        "goodput at 120 % load": [served.arrivals[max(served.arrivals)].throughput / capacity],
        "crowd": [served.closed[MIX][CROWD].latency.p99],
        "front, latency": [p50(front) - p50(alone) for front, alone in pairs],
        "front, capacity": over(run, ALONE, PAGES, throughput),
        **gateway_rows(run.turns),
        "FastAPI, capacity at 150 dpi": over(run, "FastAPI", PAGES, throughput),
        "FastAPI, capacity at 300 dpi": over(run, "FastAPI", LARGE_PAGES, throughput),
        "FastAPI, p50 at 8 clients": over(run, "FastAPI", PAGES, p50),
        "LitServe, capacity at 150 dpi": over(run, "LitServe", PAGES, throughput),
        "LitServe, p99 at 8 clients": over(run, "LitServe", PAGES, p99),
        "memory over the soak": [end.pss_mib / settled.pss_mib],
        "shared memory over the soak": [end.shm_mib / settled.shm_mib],
    }


def gateway_rows(turns: Mapping[str, Mapping[str, Sequence[Speed]]]) -> dict[str, list[float]]:
    """What the gateway takes of the server that it stands before, turn by turn."""
    there, served = turns[GATEWAY], turns[SERVED]
    ones = zip(there[ONE_PAGE], served[ONE_PAGE], strict=True)
    many = zip(there[PAGES], served[PAGES], strict=True)
    return {
        "gateway, latency": [p50(ours) - p50(theirs) for ours, theirs in ones],
        "gateway, capacity": [throughput(ours) / throughput(theirs) for ours, theirs in many],
    }


def allowed(run: Run) -> dict[str, float]:
    """What the rows could reach at best if the work itself took no longer than without a server.

    Transport and the load generator take CPU time of the same cores; files that come at random
    wait for each other.
    """
    workers = run.limit.workers
    cpu_ms = {kind: each.workers * 1000 / each.throughput for kind, each in workers.items()}

    def beside(kind: str) -> float:
        spent = run.served.cpu_ms[kind]
        beside = sum(spent.get(part, 0.0) for part in (TRANSPORT, FRONT, LOAD_GENERATOR))
        return cpu_ms[kind] / (cpu_ms[kind] + beside)

    return {
        "page capacity": beside(PAGE),
        "captcha capacity": beside("captcha"),
        "tail at 70 % load": limit.ideal_tail(cpu_ms, workers[PAGE].workers, LOAD, PAGE),
    }


def throughput(speed: Speed) -> float:
    return speed.throughput


def p50(speed: Speed) -> float:
    return speed.latency.p50


def p99(speed: Speed) -> float:
    return speed.latency.p99


def over(run: Run, name: str, load: str, figure: Callable[[Speed], float]) -> list[float]:
    """The server's figure over a peer's, turn by turn."""
    pairs = zip(run.turns[SERVED][load], run.turns[name][load], strict=True)
    return [figure(ours) / figure(theirs) for ours, theirs in pairs]
