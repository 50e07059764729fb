"""What these cores allow: the bare graph, and a page's whole work without a server.

python -m benchmarks.speed.limit --corpus DIR [--kind a4_150_jpeg] [--seconds 10]
"""

import argparse
import heapq
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import corpus
from benchmarks.speed.records import Latency, Limit, Rate, Speed, Together
from inprocess import Detector, Reader
from inprocess.ensemble import Ensemble
from inprocess.repository import newest_version
from server import Settings

WARM_UP = 3  # files


def newest_ir(model: str) -> Path:
    """model.xml of the version of a shipped model that Triton serves."""
    folder = Settings().repository / model
    return folder / str(newest_version(folder)) / "model.xml"


def bare(graph: Path, hint: str, seconds: int) -> Rate:
    """OpenVINO's benchmark_app on a graph.

    `hint` is latency (one at a time) or throughput. RuntimeError with its words if it fails.
    """
    app = Path(sys.executable).parent / "benchmark_app"
    with tempfile.TemporaryDirectory() as folder:
        options = ["-m", str(graph), "-d", "CPU", "-hint", hint, "-t", str(seconds)]
        report = ["-json_stats", "-report_type", "no_counters", "-report_folder", folder]
        done = subprocess.run(
            [str(app), *options, *report], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"benchmark_app: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        found = json.loads((Path(folder) / "benchmark_report.json").read_text())
    rows = found["execution_results"]
    return Rate(p50_ms=float(rows["latency (ms)"]), throughput=float(rows["throughput"]))


def timed(work: Callable[[Any], Any], values: Sequence[Any], seconds: float) -> np.ndarray:
    """Latencies in ms of `work` on the values in turn, for so many seconds; all once at least."""
    for value in values[:WARM_UP]:
        work(value)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < len(values):
        value = values[len(times) % len(values)]
        start = time.perf_counter()
        work(value)
        times.append((time.perf_counter() - start) * 1000)
    return np.array(times)


def steps_alone(ensemble: Ensemble, images: Sequence[bytes], seconds: float) -> dict[str, float]:
    """Median ms of each step when files go through them one at a time in this process."""
    ensemble.answer(images[0], {})
    times: dict[str, list[float]] = {name: [] for name in ensemble.steps}
    end = time.perf_counter() + seconds
    done = 0
    while time.perf_counter() < end or not done:
        tensors = {"image": np.array([images[done % len(images)]], np.object_)}
        for name, step in ensemble.steps.items():
            start = time.perf_counter()
            tensors |= step(tensors, {})
            times[name].append((time.perf_counter() - start) * 1000)
        done += 1
    return {name: float(np.median(taken)) for name, taken in times.items()}


def one_at_a_time(work: Callable[[bytes], Any], images: Sequence[bytes], seconds: float) -> Speed:
    """A file's whole work in this process."""
    times = timed(work, images, seconds)
    return Speed(Latency.of(times), 1000 / float(times.mean()))


class Workers:
    """A process a core that does the whole work on files, each with one inference thread."""

    def __init__(self, captcha: bool, count: int | None = None) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(self.count, _start_worker, (captcha,))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_) -> None:
        self._pool.terminate()
        self._pool.join()

    def throughput(self, images: Sequence[bytes], seconds: float) -> float:
        """Files a second of all workers together."""
        tasks = [(list(images), seconds)] * self.count
        return sum(self._pool.starmap(_worker_rate, tasks, chunksize=1))


_work: Callable[[bytes], Any] | None = None  # of a worker process


def _start_worker(captcha: bool) -> None:
    global _work
    repository = Settings().repository
    _work = (
        Reader(repository, threads=1).read if captcha else Detector(repository, threads=1).detect
    )


def _worker_rate(images: Sequence[bytes], seconds: float) -> float:
    assert _work is not None  # _start_worker ran first
    return 1000 / float(timed(_work, images, seconds).mean())


def ideal_tail(
    service_ms: Mapping[str, float], cores: int, load: float, kind: str, arrivals: int = 100_000
) -> float:
    """p99 over p50 of one kind's latency where nothing is lost to serving.

    Files of the corpus' shares come at random times, at `load` of what the cores can do; each is
    done by one core, first come first served, in `service_ms` of its kind.
    """
    rng = np.random.default_rng(0)
    shares = np.array([corpus.SHARES[each] for each in service_ms])
    drawn = rng.choice(len(shares), arrivals, p=shares / shares.sum())
    lengths = np.array(list(service_ms.values()))[drawn]
    due = rng.exponential(lengths.mean() / (load * cores), arrivals).cumsum()
    free = [0.0] * cores  # when each core is
    latency = np.empty(arrivals)
    for i, (came, length) in enumerate(zip(due.tolist(), lengths.tolist(), strict=True)):
        done = max(came, heapq.heappop(free)) + length
        heapq.heappush(free, done)
        latency[i] = done - came
    p50, p99 = np.percentile(latency[drawn == list(service_ms).index(kind)], (50, 99))
    return float(p99 / p50)


def read(folder: Path, kind: str) -> list[bytes]:
    """The files of one kind of a corpus."""
    return [(folder / sample.name).read_bytes() for sample in corpus.load(folder, kind)]


def measure(folder: Path, kinds: Sequence[str], seconds: int) -> Limit:
    """The limits for each kind of file, and those of the bare graphs."""
    repository = Settings().repository
    graphs = {model: newest_ir(model) for model in ("document_yolo", "captcha_heads")}
    images = {kind: read(folder, kind) for kind in kinds}
    pages, captchas = ([k for k in kinds if (k == "captcha") == wanted] for wanted in (False, True))
    limit = Limit(
        latency={model: bare(graph, "latency", seconds) for model, graph in graphs.items()},
        throughput={model: bare(graph, "throughput", seconds) for model, graph in graphs.items()},
    )
    detector, reader = Detector(repository), Reader(repository)
    for kind in kinds:
        work = reader.read if kind == "captcha" else detector.detect
        ensemble = reader.ensemble if kind == "captcha" else detector.ensemble
        limit.in_process[kind] = one_at_a_time(work, images[kind], seconds)
        limit.steps_ms[kind] = steps_alone(ensemble, images[kind], seconds)
    for group in filter(None, (pages, captchas)):
        with Workers(captcha=group is captchas) as workers:
            for kind in group:
                rate = workers.throughput(images[kind], seconds)
                limit.workers[kind] = Together(rate, workers.count)
    return limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of make_corpus")
    parser.add_argument("--kind", choices=corpus.SHARES, nargs="+", default=list(corpus.SHARES))
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    args = parser.parse_args()
    print(json.dumps(asdict(measure(args.corpus, args.kind, args.seconds)), indent=2))


if __name__ == "__main__":
    main()
