"""What Ray costs an archive: pages a second, CPU time and memory, with and without it.

    python -m benchmarks.speed.archive --pages 600 --rounds 4

The same files are looked at by plain processes, a network each, and by as many workers of Ray, in
turn. Both take the same blocks, the next one whenever one is done. Rates and CPU times are of the
time after all workers are there and as many blocks are done; the start before is told apart. With
`--tiny N`: N small pages on Ray, and the memory as it goes. With `--none N`: N files that are no
pages, which is all of the way but the network.
"""

import argparse
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil
import pyarrow as pa
import ray
from PIL import Image

from archive.__main__ import cluster
from archive.looking import Settings, model_of
from archive.run import Progress, blocks, count, run
from archive.sources import listing
from archive.store import Store
from archive.worker import Worker
from benchmarks.machine import machine
from server.settings import ROOT

Tell = Callable[[Progress], None]

SAMPLES = [ROOT / "server" / "samples" / name for name in ("page_150dpi.jpg", "page_300dpi.jpg")]
TIMES_WEIGHED = 20


def fill(folder: Path, count: int, contents: list[bytes]) -> None:
    """JPEG files that differ in a number after their end."""
    for i in range(count):
        place = folder / f"{i // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:06}.jpg").write_bytes(contents[i % len(contents)] + str(i).encode())


def processes() -> list[psutil.Process]:
    """This one and all below it."""
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def megabytes() -> float:
    """The memory of all processes (PSS)."""
    found = 0.0
    for process in processes():
        try:
            found += process.memory_full_info().pss / 2**20
        except psutil.NoSuchProcess:
            continue
    return found


@dataclass(frozen=True)
class Note:
    """What was there at a moment."""

    files: int
    time_s: float
    cpu_s: float  # of all processes so far


class Watch:
    """Takes notes of a run, as its `tell`; at most one a second, as each takes CPU time of its own.

    The first is when as many blocks are done as there are workers, the last at the end.
    """

    def __init__(self, workers: int) -> None:
        self.notes: list[Note] = []
        self._began = time.perf_counter()
        self._workers, self._blocks, self._files = workers, 0, 0
        self._cpu_s: dict[int, float] = {}  # by process, those that have ended among them

    def __call__(self, progress: Progress) -> None:
        if progress.files_done == self._files:
            return
        self._files = progress.files_done
        self._blocks += 1
        now = time.perf_counter()
        due = not self.notes or now - self.notes[-1].time_s >= 1
        if self._blocks >= self._workers and (due or self._files == progress.files):
            self.notes.append(Note(self._files, now, self._seconds()))

    def _seconds(self) -> float:
        for process in processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            self._cpu_s[process.pid] = times.user + times.system
        return sum(self._cpu_s.values())

    def result(self) -> dict[str, float]:
        """Pages a second and CPU time a page, and how long it took until they count."""
        first, last = self.notes[0], self.notes[-1]
        pages = last.files - first.files
        return {
            "pages": pages,
            "pages_per_s": round(pages / (last.time_s - first.time_s), 2),
            "cpu_ms_per_page": round((last.cpu_s - first.cpu_s) / pages * 1000, 2),
            "start_s": round(first.time_s - self._began, 2),
        }


def on_ray(source: Path, workers: int, tell: Tell) -> None:
    """Looks at a folder on a Ray that is started for it."""
    found = listing(str(source))
    settings = Settings(str(source), "accept")
    ray.data.DataContext.get_current().wait_for_min_actors_s = 600  # all, before the first block
    with tempfile.TemporaryDirectory() as out:
        model, store = model_of(settings), Store(out)
        run(found.files, settings, model, store, cluster("local"), workers, tell)


def plainly(source: Path, workers: int, tell: Tell) -> None:
    """Looks at a folder in processes that take the next block as they can."""
    files = listing(str(source)).files
    settings = Settings(str(source), "accept")
    context = multiprocessing.get_context("spawn")
    todo: SimpleQueue[pa.Table | None] = context.SimpleQueue()
    done: SimpleQueue[pa.Table] = context.SimpleQueue()
    there = context.Barrier(workers + 1)
    started = [
        context.Process(target=_plain, args=(settings, todo, done, there)) for _ in range(workers)
    ]
    for process in started:
        process.start()
    there.wait()
    parts = list(blocks(files, workers, alone=False))
    progress = Progress(len(files), 0)
    for part in parts[:workers]:
        todo.put(part)
    for i in range(len(parts)):
        answers = done.get()
        todo.put(parts[i + workers] if i + workers < len(parts) else None)
        count(progress, answers)
        tell(progress)
    for process in started:
        process.join()


def _plain(
    settings: Settings,
    todo: "SimpleQueue[pa.Table | None]",
    done: "SimpleQueue[pa.Table]",
    there: Barrier,
) -> None:
    worker = Worker(settings, model_of(settings))
    there.wait()
    while (part := todo.get()) is not None:
        done.put(worker(part))


WAYS = {"plain": plainly, "ray": on_ray}


def compare(pages: int, rounds: int, workers: int) -> None:
    """Prints the figures of each turn, and Ray's over the plain processes': median, least, most."""
    ratios: dict[str, list[float]] = {"pages_per_s": [], "cpu_ms_per_page": []}
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), pages, [path.read_bytes() for path in SAMPLES])
        for number in range(rounds):
            results: dict[str, Mapping[str, float]] = {}
            for way in sorted(WAYS, reverse=number % 2 == 1):  # each is the first in half of them
                watch = Watch(workers)
                WAYS[way](Path(folder), workers, watch)
                results[way] = watch.result()
            print(json.dumps(results), flush=True)
            for name, values in ratios.items():
                values.append(results["ray"][name] / results["plain"][name])
    over = {
        name: f"{statistics.median(each):.3f} ({min(each):.3f} to {max(each):.3f})"
        for name, each in ratios.items()
    }
    print(json.dumps({"workers": workers, "rounds": rounds, "ray over plain": over}))


def many(content: bytes, files: int, workers: int) -> None:
    """Prints memory in MB as it goes, and at the end what the driver takes for each file."""
    watch, due = Watch(workers), 0

    def tell(progress: Progress) -> None:
        nonlocal due
        watch(progress)
        done = progress.files_done
        if watch.notes and done >= due:
            print(json.dumps({"files": done, "megabytes": round(megabytes())}), flush=True)
            due = min(done + files // TIMES_WEIGHED, files) if done < files else files + 1

    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), files, [content])
        own = psutil.Process().cpu_times()
        on_ray(Path(folder), workers, tell)
        own_after = psutil.Process().cpu_times()
    seconds = own_after.user + own_after.system - own.user - own.system
    print(
        json.dumps({**watch.result(), "driver_cpu_ms_per_file": round(seconds / files * 1000, 3)})
    )


def small_page() -> bytes:
    """A blank page of 64 x 90 pixels."""
    file = io.BytesIO()
    Image.new("L", (64, 90), 255).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tiny", type=int, metavar="N")
    parser.add_argument("--none", type=int, metavar="N")
    asked = parser.parse_args()
    print(machine(), file=sys.stderr)
    if asked.tiny:
        many(small_page(), asked.tiny, asked.workers)
    elif asked.none:
        many(b"no page ", asked.none, asked.workers)
    else:
        compare(asked.pages, asked.rounds, asked.workers)


if __name__ == "__main__":
    main()
