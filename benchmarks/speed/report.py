"""report.json's figures -> one HTML page with its plots inside."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np

from benchmarks.speed.verdicts import Verdict, interval, read_targets

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } img { max-width: 100% }
td, th { padding: .2em .8em; border-bottom: 1px solid #ccc; text-align: right }
td:first-child, th:first-child { text-align: left }"""
STAGES = ("decode", "preprocess", "inference", "postprocess", "transport", "load generator")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; numbers get three significant digits."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</table>\n"


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return html.escape(str(cell))


def image(figure: Figure) -> str:
    """The figure as an <img> that carries its PNG."""
    file = io.BytesIO()
    figure.savefig(file, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">\n'


def load_rows(runs: dict[str, dict]) -> list[list[object]]:
    """One row a run: name, answers a second, percentiles, failures."""
    return [
        [name, own["throughput"], *own["latency_ms"].values(), own["failures"]]
        for name, own in runs.items()
    ]


LOAD_HEAD = ("", "answers/s", "p50, ms", "p90, ms", "p95, ms", "p99, ms", "failures")


def stages(found: dict) -> dict[str, dict[str, float]]:
    """CPU ms a page by stage, for each kind; a process of two stages is split as in process."""
    rows = {}
    for kind, spent in found["served"]["cpu_ms"].items():
        if kind == "captcha":
            continue
        alone = found["limit"]["in_process"][kind]["stages_ms"]
        before = spent.get("document_preprocess", 0.0)
        decode = before * alone["decode"] / (alone["decode"] + alone["preprocess"])
        rows[kind] = {
            "decode": decode,
            "preprocess": before - decode,
            "inference": spent.get("document_yolo", 0.0),
            "postprocess": spent.get("document_postprocess", 0.0),
            "transport": spent.get("transport", 0.0),
            "load generator": spent["load generator"],
        }
    return rows


def draw_stages(by_kind: dict[str, dict[str, float]]) -> Figure:
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.7 * len(by_kind)))
    left = np.zeros(len(by_kind))
    for stage in STAGES:
        widths = np.array([own[stage] for own in by_kind.values()])
        axes.barh(list(by_kind), widths, left=left, label=stage)
        left += widths
    axes.set(xlabel="CPU ms a page, 4 clients")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def draw_closed(found: dict) -> Figure:
    """Throughput and latency over the number of clients."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, runs in found["served"].items():
        if name.startswith("closed, "):
            clients = [int(users) for users in runs]
            label = name.removeprefix("closed, ")
            left.plot(clients, [own["throughput"] for own in runs.values()], "o-", label=label)
            for percentile, line in (("p50", "o-"), ("p99", "o--")):
                values = [own["latency_ms"][percentile] for own in runs.values()]
                right.plot(clients, values, line, label=f"{label}, {percentile}")
    left.set(xlabel="clients", ylabel="answers/s", ylim=(0, None))
    right.set(xlabel="clients", ylabel="ms", yscale="log")
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def draw_memory(rows: Sequence[Sequence[float]]) -> Figure:
    seconds, memory, shared = np.array(rows).T
    figure, axes = pyplot.subplots(figsize=(8, 3))
    axes.plot(seconds, memory, label="server and steps (PSS)")
    axes.plot(seconds, shared, label="/dev/shm")
    axes.set(xlabel="s", ylabel="MiB", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def draw_turns(turns: dict[str, list[dict]], load: str) -> Figure:
    """Answers a second of the server and each peer, one dot a turn."""
    own = {name: runs for name, runs in turns.items() if load in runs[0]}
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.5 * len(own)))
    for name, runs in own.items():
        axes.plot([run[load]["throughput"] for run in runs], [name] * len(runs), "o", alpha=0.6)
    axes.set(xlabel=f"answers/s ({load} clients)", xlim=(0, None), ylim=(-0.5, len(own) - 0.5))
    axes.grid(alpha=0.3)
    return figure


def limit_rows(limit: dict) -> list[list[object]]:
    """Name, median ms one at a time, and how many a second, of everything without a server."""
    rows: list[list[object]] = []
    for model, hints in limit["bare"].items():
        p50, rate = hints["latency"]["p50_ms"], hints["throughput"]["throughput"]
        rows.append([f"{model}, benchmark_app", p50, rate])
    for kind, own in limit["in_process"].items():
        p50, rate = own["latency_ms"]["p50"], limit["workers"][kind]["throughput"]
        rows.append([f"{kind}, whole work", p50, rate])
    return rows


def turn_rows(turns: dict[str, list[dict]]) -> list[list[object]]:
    """Contender and load: medians over the turns, and the server's rate over it with its spread."""
    rows = []
    for name, runs in turns.items():
        for load in runs[0]:
            rates = [run[load]["throughput"] for run in runs]
            ours = [run[load]["throughput"] for run in turns["served"]]
            ratios = np.divide(ours, rates)
            p50, p99 = (middle([run[load] for run in runs], edge) for edge in ("p50", "p99"))
            spread = "{:.2f} to {:.2f}".format(*interval(ratios.tolist()))
            rows.append([name, load, float(np.median(rates)), p50, p99, spread])
    return rows


def middle(runs: Sequence[dict], percentile: str) -> float | str:
    """The median over runs of a latency in ms; a dash where none was taken."""
    values = [run["latency_ms"][percentile] for run in runs if "latency_ms" in run]
    return float(np.median(values)) if values else "-"


def page(found: dict, verdicts: Sequence[Verdict]) -> str:
    """The whole report."""
    served, targets = found["served"], read_targets()
    judged = [
        [
            f"{each.row}: {targets[each.row]['what']}",
            each.value,
            f"{each.low:.3g} to {each.high:.3g}",
            f"{'at most' if each.at_most else 'at least'} {each.limit:g}",
            each.state + (f", by {each.beyond:.0%}" if each.beyond > 0 else ""),
            found["allowed"].get(each.row, ""),
        ]
        for each in verdicts
    ]
    where = "; ".join(f"{name} {value}" for name, value in found["machine"].items())
    split = stages(found)
    closed = {
        f"{name.removeprefix('closed, ')}, {users} clients": own
        for name, runs in served.items()
        if name.startswith("closed, ")
        for users, own in runs.items()
    }
    arrivals = {f"{float(part):.0%} of capacity": own for part, own in served["open"].items()}
    arrivals["120% of capacity, behind haproxy"] = served["behind_haproxy"]
    one = served["one_client"] | {"a4_150_jpeg over HTTP": served["one_client_http"]}
    parts = [
        f"<h1>Speed</h1><p>{html.escape(where)}<br><code>{html.escape(found['command'])}</code></p>",
        "<h2>Targets</h2>",
        table(("", "median", "interval", "target", "", "these cores allow"), judged),
        "<p>What the cores allow, where the load generator and transport have their share of them "
        "and files that come at random wait for each other, is reckoned from the times below.</p>",
        "<h2>One client, by input</h2>",
        table(LOAD_HEAD, load_rows(one)),
        "<h2>Clients that wait for their answers</h2>",
        table(LOAD_HEAD, load_rows(closed)),
        image(draw_closed(found)),
        "<h2>Arrivals at random times</h2>",
        "<p>Latency counts from the time at which a file was due.</p>",
        table(LOAD_HEAD, load_rows(arrivals)),
        "<h2>Where the time goes</h2>",
        "<p>CPU of the processes; decode and preprocess share one and are split as in process.</p>",
        table(("CPU ms a page", *STAGES), [[k, *own.values()] for k, own in split.items()]),
        image(draw_stages(split)),
        table(("step, one client", "ms"), list(served["steps_ms"].items())),
        "<h2>Soak</h2>",
        table(LOAD_HEAD, load_rows({"8 clients": served["soak"]})),
        image(draw_memory(served["memory"])),
        "<h2>What these cores allow</h2>",
        table(("", "p50, ms", "a second, all cores"), limit_rows(found["limit"])),
        "<h2>Peers, in turn</h2>",
        f"<p>Peers on ONNX had {found['peers_weights']} weights; the last column is the server's "
        "rate over theirs.</p>",
        table(
            ("", "load, clients", "answers/s", "p50, ms", "p99, ms", "served over it"),
            turn_rows(found["turns"]),
        ),
        image(draw_turns(found["turns"], "a4_150_jpeg, 8")),
    ]
    head = f"<!doctype html><meta charset=utf-8><title>Speed</title><style>{STYLE}</style>\n"
    return head + "\n".join(parts)
