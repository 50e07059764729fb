"""What Ray costs an archive: pages a second, CPU time and memory, with and without it.

    python -m benchmarks.speed.archive --pages 400 --workers 1 2

The same files are looked at by plain processes, a network each, and by as many workers of Ray; in
turn, `--rounds` times. Rates and CPU times are of the time from the first block on, so that the
start of neither counts. With `--tiny N`: N small pages on Ray, and the memory as it goes. With
`--none N`: N files that are no pages, which is all of the way but the network.
"""

import argparse
import io
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

from archive.__main__ import cluster
from archive.looking import Settings, model_of
from archive.run import Progress, blocks, run
from archive.sources import listing
from archive.store import Store
from archive.worker import Worker
from benchmarks.machine import machine
from server.settings import ROOT

SAMPLES = [ROOT / "server" / "samples" / name for name in ("page_150dpi.jpg", "page_300dpi.jpg")]


def fill(folder: Path, count: int, contents: list[bytes]) -> None:
    """JPEG files that differ in a number after their end."""
    for i in range(count):
        place = folder / f"{i // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:06}.jpg").write_bytes(contents[i % len(contents)] + str(i).encode())


def usage() -> tuple[float, float]:
    """CPU seconds of this process and all below it so far, and their memory in MB (PSS)."""
    seconds, megabytes = 0.0, 0.0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            times = process.cpu_times()
            megabytes += process.memory_full_info().pss / 2**20
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return seconds, megabytes


class Watch:
    """Notes files, time and usage at the first block, and at each after it, a second apart."""

    def __init__(self) -> None:
        self.notes: list[tuple[int, float, float, float]] = []

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        done = progress.files_done == progress.files
        if progress.files_done and (done or not self.notes or now - self.notes[-1][1] > 1):
            self.notes.append((progress.files_done, now, *usage()))

    def result(self) -> dict[str, float]:
        (first, began, cpu, _), (last, ended, cpu_after, _) = self.notes[0], self.notes[-1]
        pages = last - first
        return {
            "pages": pages,
            "pages_per_s": round(pages / (ended - began), 2),
            "cpu_ms_per_page": round((cpu_after - cpu) / pages * 1000, 2),
        }


def on_ray(source: Path, workers: int) -> Watch:
    """Looks at a folder on a Ray that is started for it."""
    found = listing(str(source))
    settings = Settings(str(source), "accept")
    watch = Watch()
    with tempfile.TemporaryDirectory() as out:
        model, store = model_of(settings), Store(out)
        run(found.files, settings, model, store, cluster("local"), workers, watch)
    return watch


def plainly(source: Path, workers: int) -> dict[str, float]:
    """Looks at a folder in processes that know nothing of each other."""
    found = listing(str(source))
    context = multiprocessing.get_context("spawn")
    share = -(-len(found.files) // workers)
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_plain, args=(str(source), i * share, share, workers, results))
        for i in range(workers)
    ]
    for process in processes:
        process.start()
    got = [results.get() for _ in processes]
    for process in processes:
        process.join()
    began, ended = max(began for _, began, _, _ in got), max(ended for *_, ended, _ in got)
    pages = sum(pages for pages, *_ in got)
    return {
        "pages": pages,
        "pages_per_s": round(pages / (ended - began), 2),
        "cpu_ms_per_page": round(sum(cpu for *_, cpu in got) / pages * 1000, 2),
    }


def _plain(source: str, begin: int, count: int, workers: int, results) -> None:
    files = listing(source).files
    settings = Settings(source, "accept")
    worker = Worker(settings, model_of(settings))
    parts = list(blocks(files.slice(begin, count), 1, alone=False))
    worker(parts[0])  # as the first block on Ray
    began, cpu, pages = time.perf_counter(), usage()[0], 0
    for part in parts[1:]:
        pages += sum(len(row) for row in worker(part)["pages"].to_pylist())
    results.put((pages, began, time.perf_counter(), usage()[0] - cpu))


def compare(pages: int, rounds: int, workers: list[int]) -> None:
    """Prints each figure, and the medians of Ray's over the plain processes'."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), pages, [path.read_bytes() for path in SAMPLES])
        for count in workers:
            ratios: dict[str, list[float]] = {"pages_per_s": [], "cpu_ms_per_page": []}
            for _ in range(rounds):
                plain, rayed = plainly(Path(folder), count), on_ray(Path(folder), count).result()
                for name, values in ratios.items():
                    values.append(rayed[name] / plain[name])
                print(json.dumps({"workers": count, "plain": plain, "ray": rayed}), flush=True)
            medians = {name: round(statistics.median(each), 3) for name, each in ratios.items()}
            print(json.dumps({"workers": count, "ray over plain": medians}), flush=True)


def many(content: bytes, count: int, workers: int) -> None:
    """Prints memory in MB after every tenth of the files, and what the driver takes for each."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), count, [content])
        own = psutil.Process().cpu_times()
        watch = on_ray(Path(folder), workers)
        own_after = psutil.Process().cpu_times()
    notes = watch.notes
    step = max(1, len(notes) // 10)
    for done, _, _, megabytes in [*notes[::step], notes[-1]]:
        print(json.dumps({"files": done, "megabytes": round(megabytes)}))
    seconds = own_after.user + own_after.system - own.user - own.system
    print(
        json.dumps({**watch.result(), "driver_cpu_ms_per_file": round(seconds / count * 1000, 3)})
    )


def small_page() -> bytes:
    """A blank page of 64 x 90 pixels."""
    file = io.BytesIO()
    Image.new("L", (64, 90), 255).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tiny", type=int, metavar="N")
    parser.add_argument("--none", type=int, metavar="N")
    asked = parser.parse_args()
    print(machine(), file=sys.stderr)
    if asked.tiny:
        many(small_page(), asked.tiny, max(asked.workers))
    elif asked.none:
        many(b"no page ", asked.none, max(asked.workers))
    else:
        compare(asked.pages, asked.rounds, asked.workers)


if __name__ == "__main__":
    main()
