"""`make bench-check`: has serving become slower?

    python -m benchmarks.speed.check [--record --runs 3] [--slow document_preprocess]

Two minutes of blocks. Each block measures the server, the same work in one process, a process a
core, and a yardstick: fixed work that no file of this repository changes, so that a machine's good
and bad moments cancel out. Ratios of a block are compared with targets.yaml and, those to the
yardstick, with baseline.json. Exits 1 and names the rows that broke. A target that was missed when
the baseline was recorded is named, but breaks nothing.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from openvino import opset8

from benchmarks.machine import cpu_model, machine
from benchmarks.speed import make_corpus
from benchmarks.speed.limit import Workers, read, timed
from benchmarks.speed.server_cost import STEPS, step_ms, step_times
from benchmarks.speed.verdicts import Rows, Verdict, against_baseline, against_targets, read_targets
from countersign import Client
from inprocess import Detector, Reader
from server import Server, Settings

REPOSITORY = Settings().repository
BASELINE = Path(__file__).with_name("baseline.json")
CORPUS = Path("runs/corpus")
BLOCKS = 14
CLIENTS = 8
PAGE = "a4_150_jpeg"
SLOWDOWN = 0.2
SLOW_STEP = f"""
import time

_quick = TritonPythonModel.execute


def _slow(self, requests):
    start = time.perf_counter()
    answers = _quick(self, requests)
    end = start + (time.perf_counter() - start) * {1 + SLOWDOWN}
    while time.perf_counter() < end:
        pass
    return answers


TritonPythonModel.execute = _slow
"""


def yardstick() -> Callable[[Any], Any]:
    """Work that stays the same: decode a page of noise, shrink it, ten small convolutions."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (110, 78, 3), np.uint8)
    file = cv2.imencode(".jpg", cv2.resize(noise, (1240, 1754)))[1]
    layer = opset8.parameter([1, 32, 160, 160], np.float32)
    pixels = layer
    for _ in range(10):
        weights = rng.normal(0, 0.1, (32, 32, 3, 3)).astype(np.float32)
        layer = opset8.relu(opset8.convolution(layer, weights, [1, 1], [1, 1], [1, 1], [1, 1]))
    graph = ov.compile_model(ov.Model([layer], [pixels]), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    values = rng.random((1, 32, 160, 160), np.float32)

    def work(_: Any) -> None:
        page = cv2.imdecode(file, cv2.IMREAD_COLOR)
        cv2.resize(page, (452, 640), interpolation=cv2.INTER_AREA)
        graph(values)

    return work


def p50(work: Callable[[Any], Any], values: list, seconds: float) -> float:
    """Median ms of `work` on the values in turn."""
    return float(np.median(timed(work, values, seconds)))


def client_rate(client: Client, images: list[bytes], captcha: bool, seconds: float) -> float:
    """Answers a second that CLIENTS threads get. Raises the first error."""
    end = time.perf_counter() + seconds

    def ask(number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            image = images[(number + done) % len(images)]
            client.read(image) if captcha else client.detect(image)
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = sum(pool.map(ask, range(CLIENTS)))
    return done / (time.perf_counter() - start)


class Bench:
    """All that a block measures, started and warm."""

    def __init__(self, server: Server, client: Client, folder: Path, seconds: float) -> None:
        self.server, self.client, self.seconds = server, client, seconds
        self.pages, self.captchas = read(folder, PAGE), read(folder, "captcha")
        self.detector, self.reader = Detector(REPOSITORY), Reader(REPOSITORY)
        self.yardstick = yardstick()

    def block(self, pages: Workers, captchas: Workers) -> dict[str, float]:
        """One value of every row."""
        part = self.seconds
        yard = [p50(self.yardstick, [None], part / 3)]
        before = step_times(self.server.http_url)
        page = p50(self.client.detect, self.pages, part)
        captcha = p50(self.client.read, self.captchas, part / 2)
        steps = step_ms(before, step_times(self.server.http_url))
        alone = p50(self.detector.detect, self.pages, part)
        yard.append(p50(self.yardstick, [None], part / 3))
        rate = client_rate(self.client, self.pages, False, 2 * part)
        limit = pages.throughput(self.pages, 2 * part)
        captcha_rate = client_rate(self.client, self.captchas, True, part)
        captcha_limit = captchas.throughput(self.captchas, part)
        yard.append(p50(self.yardstick, [None], part / 3))
        unit = float(np.median(yard))  # ms
        return {
            "page latency": page / alone,
            "page capacity": rate / limit,
            "captcha latency": captcha,
            "captcha capacity": captcha_rate / captcha_limit,
            "page p50": page / unit,
            "page at 8 clients": 1000 / rate / unit,
            "captcha p50": captcha / unit,
            "captcha at 8 clients": 1000 / captcha_rate / unit,
            **{step: steps[step] / unit for ensemble in STEPS.values() for step in ensemble},
        }


def measure(repository: Path, folder: Path, blocks: int, seconds: float) -> Rows:
    """Each row's value in every block, of a server that is started for it."""
    began = time.perf_counter()
    settings = Settings(repository=repository, http_port=0, grpc_port=0, metrics_port=0)
    with Server(settings) as server, Client(server.grpc_url) as client:
        rows = defaultdict(list, {"start": [time.perf_counter() - began]})
        bench = Bench(server, client, folder, seconds)
        with Workers(captcha=False) as pages, Workers(captcha=True) as captchas:
            bench.block(pages, captchas)  # warms everything up
            for _ in range(blocks):
                for row, value in bench.block(pages, captchas).items():
                    rows[row].append(value)
    return dict(rows)


def slowed(repository: Path, step: str, folder: Path) -> Path:
    """A copy of the repository whose Python step takes 20 % longer."""
    copy = Path(shutil.copytree(repository, folder / "model_repository"))
    with (copy / step / "1" / "model.py").open("a") as model:
        model.write(SLOW_STEP)
    return copy


def compared(rows: Rows) -> dict[str, float]:
    """The medians that a baseline holds: rows without a target, over the yardstick."""
    targets = read_targets()
    return {row: float(np.median(values)) for row, values in rows.items() if row not in targets}


def judge(rows: Rows, baseline: dict) -> list[Verdict]:
    """Targets and baseline; targets that the baseline missed are not broken but missed."""
    known = set(baseline["missed"])
    targets = against_targets(rows, read_targets())
    judged = [each for each in targets if each.row not in known]
    return [*judged, *against_baseline(rows, baseline["rows"])]


def record(runs: list[Rows]) -> dict:
    """What baseline.json holds: the runs' middle, and the targets that they missed."""
    medians = [compared(rows) for rows in runs]
    middle = {row: float(np.median([run[row] for run in medians])) for row in medians[0]}
    every = {row: [value for rows in runs for value in rows[row]] for row in runs[0]}
    missed = [each.row for each in against_targets(every, read_targets()) if each.beyond > 0]
    return {"machine": machine(), "rows": middle, "missed": missed}


def print_verdicts(verdicts: list[Verdict]) -> None:
    print(f"{'row':24} {'median':>8} {'interval':>17} {'limit':>10}")
    for each in verdicts:
        sign = "<=" if each.at_most else ">="
        print(
            f"{each.row:24} {each.value:8.3f} {each.low:8.3f} {each.high:8.3f} "
            f"{sign:>3}{each.limit:7.3f}  {each.state}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder, made if missing")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--seconds", type=float, default=0.6, help="of a block's short parts")
    parser.add_argument("--record", action="store_true", help="write baseline.json")
    parser.add_argument("--runs", type=int, default=3, help="that --record takes the middle of")
    parser.add_argument("--slow", help="slow this Python step down by 20 %%: it must be named")
    args = parser.parse_args()
    make_corpus.write(args.corpus)
    if args.record:
        runs = [
            measure(REPOSITORY, args.corpus, args.blocks, args.seconds) for _ in range(args.runs)
        ]
        BASELINE.write_text(json.dumps(record(runs), indent=2) + "\n")
        print(BASELINE.read_text())
        return 0
    if not BASELINE.exists():
        parser.error(f"{BASELINE.name} is missing: --record writes it")
    baseline = json.loads(BASELINE.read_text())
    if baseline["machine"]["cpu"] != cpu_model():
        print(f"the baseline is of another processor: {baseline['machine']['cpu']}")
    with tempfile.TemporaryDirectory() as folder:
        served = slowed(REPOSITORY, args.slow, Path(folder)) if args.slow else REPOSITORY
        rows = measure(served, args.corpus, args.blocks, args.seconds)
    verdicts = judge(rows, baseline)
    print_verdicts(verdicts)
    for row in baseline["missed"]:
        print(f"{row}: {np.median(rows[row]):.3f}, a target that the baseline missed too")
    broken = [each.row for each in verdicts if each.state == "broken"]
    print("broken: " + ", ".join(broken) if broken else "nothing broke")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
