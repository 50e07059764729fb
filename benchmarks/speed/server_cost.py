"""What a running tritonserver costs: CPU time and memory of its processes, time of its steps."""

import json
import urllib.request
from pathlib import Path
from threading import Event, Thread

import psutil

from benchmarks.speed.records import MemorySample

SHM = Path("/dev/shm")
LOAD_GENERATOR = "load generator"
FRONT = "front"  # Envoy
TRANSPORT = "transport"  # tritonserver itself: HTTP, gRPC, scheduling, copies between steps
MIB = 2**20
STEPS = {
    "document_detector": ("document_preprocess", "document_yolo", "document_postprocess"),
    "captcha_reader": ("captcha_preprocess", "captcha_heads", "captcha_postprocess"),
}


def tritonserver() -> psutil.Process:
    """The one that this process started. RuntimeError if there is none."""
    for child in psutil.Process().children():
        if child.name() == "tritonserver":
            return child
    raise RuntimeError("this process has started no tritonserver")


def fronts(server: psutil.Process) -> list[psutil.Process]:
    """What stands before a tritonserver: started by the same process."""
    starter = server.parent()
    return [child for child in starter.children() if child.name() == "envoy"] if starter else []


def processes(server: psutil.Process) -> dict[str, list[psutil.Process]]:
    """tritonserver under TRANSPORT, Envoy under FRONT, the processes of each step by its model."""
    found = {TRANSPORT: [server], FRONT: fronts(server)}
    for stub in server.children(recursive=True):
        model = Path(stub.cmdline()[1]).parents[1].name  # MODEL/1/model.py
        found.setdefault(model, []).append(stub)
    return found


def cpu_s(parts: dict[str, list[psutil.Process]]) -> dict[str, float]:
    """Seconds of CPU that each part has used since it started."""
    return {name: sum(sum(each.cpu_times()[:2]) for each in group) for name, group in parts.items()}


def memory_mib(server: psutil.Process) -> float:
    """Proportional set size of the server, its steps and its front."""
    group = [server, *fronts(server), *server.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in group) / MIB


def shm_mib() -> float:
    """What servers of this project hold in shared memory."""
    return sum(path.stat().st_blocks * 512 for path in SHM.glob("countersign-*")) / MIB


def step_times(http_url: str) -> dict[str, tuple[int, float]]:
    """Answered requests and their seconds, queueing included, of each model since the start."""
    with urllib.request.urlopen(f"http://{http_url}/v2/models/stats", timeout=10) as reply:
        models = json.load(reply)["model_stats"]
    spent = {each["name"]: each["inference_stats"]["success"] for each in models}
    return {name: (row["count"], row["ns"] / 1e9) for name, row in spent.items()}


def step_ms(before: dict, after: dict) -> dict[str, float]:
    """Mean ms a request between two `step_times`, of models that had any.

    A step that answers asynchronously is not timed by Triton: it gets what the others leave of its
    ensemble's time.
    """
    spent = {
        name: (after[name][1] - before[name][1]) / (after[name][0] - before[name][0]) * 1000
        for name in after
        if after[name][0] > before[name][0]
    }
    for ensemble, (first, middle, last) in STEPS.items():
        if ensemble in spent:
            spent[middle] = spent[ensemble] - spent[first] - spent[last]
    return spent


class Memory:
    """Takes samples while it is open."""

    def __init__(self, server: psutil.Process, every_s: float) -> None:
        self.samples: list[MemorySample] = []
        self._server, self._every_s, self._done = server, every_s, Event()
        self._thread = Thread(target=self._sample)

    def _sample(self) -> None:
        seconds = 0.0
        while not self._done.wait(self._every_s):
            seconds += self._every_s
            self.samples.append(MemorySample(seconds, memory_mib(self._server), shm_mib()))

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()
