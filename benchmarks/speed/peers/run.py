"""Starts a peer in a process of its own, waits until it answers, stops it."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

from inprocess import Detector
from server import Settings
from server.ports import free_port
from server.settings import ROOT

START_S = 120  # seconds until a peer must answer
PROVIDERS = ("CPUExecutionProvider", "OpenVINOExecutionProvider")


@contextmanager
def peer(module: str, arguments: Sequence[str] = ()) -> Iterator[tuple[str, float]]:
    """host:port of benchmarks.speed.peers.`module` once it is up, and the seconds that took.

    RuntimeError if it ends before, or is not up after START_S. Stopped on exit, with its children.
    """
    port = free_port("127.0.0.1")
    command = [
        sys.executable,
        "-m",
        f"benchmarks.speed.peers.{module}",
        "--port",
        str(port),
        *arguments,
    ]
    environment = os.environ | {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            while not _up(port):
                if process.poll() is not None or time.perf_counter() - began > START_S:
                    log.seek(0)
                    raise RuntimeError(f"{module}: not up, exit {process.poll()}: {log.read()}")
                time.sleep(0.1)
            yield f"127.0.0.1:{port}", time.perf_counter() - began
        finally:
            stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ends a process that was started here and all that it started."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()


def _up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:  # refused, or 503 while workers load
        return False


def onnx_runtime(onnx: Path, provider: str) -> Callable[[np.ndarray], np.ndarray]:
    """The ONNX as a function, on one of PROVIDERS. RuntimeError if the provider is not taken."""
    session = onnxruntime.InferenceSession(onnx, providers=[provider])
    if provider not in session.get_providers():
        raise RuntimeError(f"{onnx}: {provider} is missing, there are {session.get_providers()}")
    return lambda pixels: session.run(["predictions"], {"pixels": pixels})[0]


def onnx_detector(onnx: Path, provider: str) -> Detector:
    """The shipped detector in one process, its graph replaced by an ONNX on ONNX Runtime."""
    infer = onnx_runtime(onnx, provider)
    detector = Detector(Settings().repository)
    _, graph, _ = detector.ensemble.steps
    detector.ensemble.steps[graph] = lambda tensors, _: {"predictions": infer(tensors["pixels"])}
    return detector
