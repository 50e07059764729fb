"""`make demo`: the whole path once.

Starts the server, sends the sample pages and CAPTCHAs through both ensembles, prints what was
found, draws it, stops the server.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image

from countersign import Client
from countersign.drawing import annotate
from server import Server, Settings
from server.settings import ROOT

SAMPLES = ROOT / "server" / "samples"
PICTURES = ROOT / "demo"
REPEATS = 5

Answer = TypeVar("Answer")


def timed(ask: Callable[[bytes], Answer], image: bytes) -> tuple[Answer, float]:
    """The answer, and the median of REPEATS requests in ms after a first one."""
    answer = ask(image)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask(image)
        times.append((time.perf_counter() - began) * 1000)
    return answer, statistics.median(times)


def show_page(client: Client, path: Path) -> None:
    """Prints one page's signatures and stamps, and draws them into PICTURES."""
    found, latency = timed(client.detect, path.read_bytes())
    with Image.open(path) as page:
        kind = f"{page.format} {page.mode} {page.width} x {page.height}"
    print(f"  {path.name:24} {kind:24} {latency:6.1f} ms")
    for detection in found:
        x0, y0, x1, y1 = detection.box
        place = f"from {x0:.0f}, {y0:.0f} to {x1:.0f}, {y1:.0f}"
        print(f"    {detection.label:10} {detection.score:.2f}  {place}")
    if not found.labels:
        print("    nothing")
    annotate(path, found, PICTURES / f"{path.stem}.jpg")


def show_captcha(client: Client, path: Path) -> None:
    """Prints one CAPTCHA's digits, or that the reader does not answer for them."""
    reading, latency = timed(client.read, path.read_bytes())
    text = reading.text if reading.certain else "uncertain"
    print(f"  {path.name:24} {text:10} {reading.confidence:.4f} {latency:13.1f} ms")


def main() -> None:
    pages = sorted(path for path in SAMPLES.glob("page*") if path.suffix != ".json")
    captchas = sorted(path for path in SAMPLES.glob("captcha*") if path.suffix != ".json")
    began = time.perf_counter()
    print("starting tritonserver on model_repository/ ...", flush=True)
    with Server(Settings(http_port=0, grpc_port=0, metrics_port=0)) as server:
        print(f"ready after {time.perf_counter() - began:.1f} s: every sample answered as expected")
        with Client(server.grpc_url) as client:
            print(f"\nsignatures and stamps (median of {REPEATS} requests, one client)")
            for path in pages:
                show_page(client, path)
            print(f"\nCAPTCHAs: text, confidence (median of {REPEATS} requests, one client)")
            for path in captchas:
                show_captcha(client, path)
    print(f"\nannotated pages: {PICTURES}/*.jpg")
    print("server stopped; make serve runs it in the foreground")


if __name__ == "__main__":
    main()
