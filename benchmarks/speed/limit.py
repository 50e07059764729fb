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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.in_process import (
    captcha_reader,
    chained,
    detector_stages,
    document_detector,
    newest_ir,
    openvino_model,
)
from benchmarks.speed import corpus
from benchmarks.speed.load import percentiles

ONE_THREAD = {"INFERENCE_NUM_THREADS": "1", "ENABLE_CPU_PINNING": "NO"}
WARM_UP = 3  # files


def bare(graph: Path, hint: str, seconds: int) -> dict[str, float]:
    """OpenVINO's benchmark_app on a graph: median latency in ms, and inferences a second.

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
    return {
        "p50_ms": float(rows["latency (ms)"]),
        "throughput": float(rows["throughput"]),
    }


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


def stage_times(
    stages: dict[str, Callable[[Any], Any]], images: Sequence[bytes], seconds: float
) -> dict[str, float]:
    """Median ms of each stage when pages go through them one at a time."""
    chained(stages)(images[0])
    times: dict[str, list[float]] = {name: [] for name in stages}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times["decode"]:
        value: Any = images[len(times["decode"]) % len(images)]
        for name, stage in stages.items():
            start = time.perf_counter()
            value = stage(value)
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: float(np.median(own)) for name, own in times.items()}


def one_at_a_time(
    work: Callable[[bytes], Any], images: Sequence[bytes], seconds: float
) -> dict[str, Any]:
    """Latency of a file's whole work in this process, as `percentiles`, and files a second."""
    times = timed(work, images, seconds)
    return {"latency_ms": percentiles(times), "throughput": 1000 / float(times.mean())}


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
    _work = (
        captcha_reader(settings=ONE_THREAD) if captcha else document_detector(settings=ONE_THREAD)
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


def measure(folder: Path, kinds: Sequence[str], seconds: int) -> dict[str, Any]:
    """The limits for each kind of file, and those of the bare graphs."""
    found: dict[str, Any] = {"bare": {}, "in_process": {}, "workers": {}}
    for model in ("document_yolo", "captcha_heads"):
        graph = newest_ir(model)
        found["bare"][model] = {
            hint: bare(graph, hint, seconds) for hint in ("latency", "throughput")
        }
    stages = detector_stages(openvino_model(newest_ir("document_yolo")))
    pages = [kind for kind in kinds if kind != "captcha"]
    for kind in pages:
        images = read(folder, kind)
        found["in_process"][kind] = one_at_a_time(chained(stages), images, seconds)
        found["in_process"][kind]["stages_ms"] = stage_times(stages, images, seconds)
    if "captcha" in kinds:
        images = read(folder, "captcha")
        found["in_process"]["captcha"] = one_at_a_time(captcha_reader(), images, seconds)
    for group, captcha in ((pages, False), ([k for k in kinds if k == "captcha"], True)):
        if group:
            with Workers(captcha) as workers:
                for kind in group:
                    rate = workers.throughput(read(folder, kind), seconds)
                    found["workers"][kind] = {"throughput": rate, "workers": workers.count}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder of make_corpus")
    parser.add_argument("--kind", choices=corpus.SHARES, nargs="+", default=list(corpus.SHARES))
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    args = parser.parse_args()
    print(json.dumps(measure(args.corpus, args.kind, args.seconds), indent=2))


if __name__ == "__main__":
    main()
