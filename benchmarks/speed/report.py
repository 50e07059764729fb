"""A run as one HTML page with its plots inside; report.html is its template."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib
import numpy as np

from benchmarks.speed.ratios import PAGE, PAGES, SERVED, p50, p99, throughput
from benchmarks.speed.records import Figures, MemorySample, Run
from benchmarks.speed.server_cost import FRONT, LOAD_GENERATOR, STEPS, TRANSPORT
from benchmarks.speed.verdicts import Verdict, interval, read_targets

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html")
STAGES = [
    *(step for steps in STEPS.values() for step in steps),
    TRANSPORT,
    FRONT,
    LOAD_GENERATOR,
]


@dataclass(frozen=True)
class Contender:
    """The server or a peer under one load: medians over the turns."""

    name: str
    load: str
    rate: float  # answers a second
    p50: float  # ms
    p99: float
    low: float  # interval of the server's rate over this one's
    high: float


def contenders(run: Run) -> list[Contender]:
    """Everything that took turns, under each of its loads."""
    rows = []
    for name, by_load in run.turns.items():
        for load, speeds in by_load.items():
            rates = [speed.throughput for speed in speeds]
            served = [speed.throughput for speed in run.turns[SERVED][load]]
            low, high = interval(np.divide(served, rates).tolist())
            rate, middle, tail = (
                float(np.median([figure(speed) for speed in speeds]))
                for figure in (throughput, p50, p99)
            )
            rows.append(Contender(name, load, rate, middle, tail, low, high))
    return rows


def draw_stages(cpu_ms: Mapping[str, Mapping[str, float]]) -> Figure:
    """CPU time of each stage, a bar for each kind of page."""
    kinds = [kind for kind in cpu_ms if kind != "captcha"]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.7 * len(kinds)))
    left = np.zeros(len(kinds))
    for stage in (*STEPS["document_detector"], TRANSPORT, FRONT, LOAD_GENERATOR):
        widths = np.array([cpu_ms[kind].get(stage, 0.0) for kind in kinds])
        axes.barh(kinds, widths, left=left, label=stage)
        left += widths
    axes.set(xlabel="CPU ms a page, 4 clients")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def draw_closed(closed: Mapping[str, Mapping[int, Figures]]) -> Figure:
    """Throughput and latency over the number of clients, by kind."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for kind, by_clients in closed.items():
        clients, runs = list(by_clients), list(by_clients.values())
        left.plot(clients, [each.throughput for each in runs], "o-", label=kind)
        right.plot(clients, [each.latency.p50 for each in runs], "o-", label=f"{kind}, p50")
        right.plot(clients, [each.latency.p99 for each in runs], "o--", label=f"{kind}, p99")
    left.set(xlabel="clients", ylabel="answers/s", ylim=(0, None))
    right.set(xlabel="clients", ylabel="ms", yscale="log")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def draw_memory(samples: Sequence[MemorySample]) -> Figure:
    seconds = [each.seconds for each in samples]
    figure, axes = pyplot.subplots(figsize=(8, 3))
    axes.plot(seconds, [each.pss_mib for each in samples], label="server and steps (PSS)")
    axes.plot(seconds, [each.shm_mib for each in samples], label="/dev/shm")
    axes.set(xlabel="s", ylabel="MiB", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def draw_turns(run: Run) -> Figure:
    """A4 pages a second of the server and each peer, one dot a turn."""
    rates = {
        name: [speed.throughput for speed in by_load[PAGES]]
        for name, by_load in run.turns.items()
        if PAGES in by_load
    } | {"a process a core": run.a_process_a_core}
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.5 * len(rates)))
    for name, values in rates.items():
        axes.plot(values, [name] * len(values), "o", alpha=0.6)
    axes.set(xlabel=f"answers/s ({PAGES} clients)", xlim=(0, None), ylim=(-0.5, len(rates) - 0.5))
    axes.grid(alpha=0.3)
    return figure


def source(figure: Figure) -> str:
    """The figure as what an <img> shows: its PNG, within a data URI."""
    file = io.BytesIO()
    figure.savefig(file, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def short(value: float) -> str:
    """Three significant digits, all of those before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def page(run: Run, verdicts: Sequence[Verdict], allowed: Mapping[str, float]) -> str:
    """The whole report; `allowed` is what the cores allow of some rows."""
    served = run.served
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = short
    return environment.from_string(TEMPLATE.read_text()).render(
        run=run,
        page=PAGE,
        pages=PAGES,
        stages=STAGES,
        verdicts=verdicts,
        targets=read_targets(),
        allowed=allowed,
        one_client=served.one_client | {f"{PAGE} over HTTP": served.one_client_http},
        closed={
            f"{kind}, {users} clients": figures
            for kind, by_clients in served.closed.items()
            for users, figures in by_clients.items()
        },
        arrivals={f"{share:.0%} of capacity": each for share, each in served.arrivals.items()},
        contenders=contenders(run),
        a_process_a_core=float(np.median(run.a_process_a_core)),
        plots={
            "closed": source(draw_closed(served.closed)),
            "stages": source(draw_stages(served.cpu_ms)),
            "memory": source(draw_memory(served.memory)),
            "turns": source(draw_turns(run)),
        },
    )
