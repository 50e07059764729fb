"""A long PDF through the gateway, and through the usual service in one process.

    python -m benchmarks.speed.pdf [--pages 1000] [--peer-pages 200] [--out runs/pdf]

Each second page is one scan, the others a picture with words over it, which have to be drawn. About
three minutes on two cores. The peer gets fewer pages: it takes them one after the other.
"""

import argparse
import ctypes
import json
import os
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from benchmarks.machine import machine
from benchmarks.speed import limit, make_corpus
from benchmarks.speed.bench import ANY_PORTS, QUICK, write_onnx
from benchmarks.speed.peers import weights
from benchmarks.speed.peers.run import peer
from benchmarks.speed.ratios import PAGE
from server import Server
from server.gateway import Gateway

A4 = (595, 842)  # points
BOUNDARY = "countersign-benchmark"
LINE = "The borrower declares that all of the above is true to the best of their knowledge."


def document(jpegs: Sequence[bytes], pages: int, path: Path) -> bytes:
    """A PDF of so many pages: scans, and pictures with words over them."""
    made = pdfium.PdfDocument.new()
    for number in range(pages):
        page = made.new_page(*A4)
        image = pdfium.PdfImage.new(made)
        image.load_jpeg(_file(jpegs[number % len(jpegs)]), inline=True)
        image.set_matrix(pdfium.PdfMatrix().scale(*A4))
        page.insert_obj(image)
        if number % 2:
            for line in range(30):
                _write(made, page, LINE, 60, 780 - 14 * line)
        page.gen_content()
        page.close()
    made.save(path)
    return path.read_bytes()


def _file(data: bytes) -> Path:
    """A file with that content, which PDFium reads."""
    path = Path("runs/pdf") / f"{abs(hash(data))}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _write(made: pdfium.PdfDocument, page: pdfium.PdfPage, words: str, x: float, y: float) -> None:
    """A line of text, x and y points from the bottom left."""
    text = pdfium_c.FPDFPageObj_NewTextObj(made, b"Helvetica", 10)
    buffer = ctypes.create_string_buffer(words.encode("utf-16-le") + b"\0\0")
    pdfium_c.FPDFText_SetText(text, ctypes.cast(buffer, pdfium_c.FPDF_WIDESTRING))
    pdfium_c.FPDFPageObj_Transform(text, 1, 0, 0, 1, x, y)
    pdfium_c.FPDFPage_InsertObject(page, text)


def through_gateway(pdf: bytes) -> tuple[float, int, float]:
    """Pages a second, marks, and the most MiB that the gateway's processes had."""
    with Server(ANY_PORTS) as server, Gateway(server.settings) as gateway:
        asked = urllib.request.Request(f"http://{gateway.url}/v1/documents?dpi=150", pdf)
        asked.add_header("Accept", "application/x-ndjson")
        asked.add_header("Content-Type", "application/pdf")
        urllib.request.urlopen(f"http://{gateway.url}/readyz").read()
        began, most, pages, marks = time.perf_counter(), 0.0, 0, 0
        with urllib.request.urlopen(asked, timeout=600) as reply:
            for line in reply:
                row = json.loads(line)
                pages += "detections" in row and "page" in row
                marks += len(row["detections"]) if "page" in row else 0
                if pages % 100 == 1:
                    most = max(most, memory_mib(gateway.pid))
        return pages / (time.perf_counter() - began), marks, most


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and its children."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / 2**20


def through_peer(pdf: bytes, pages: int, onnx: Path) -> float:
    """Pages a second of the usual service."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    body = head.encode() + pdf + f"\r\n--{BOUNDARY}--\r\n".encode()
    with peer("fastapi_pdf", ["--onnx", str(onnx)]) as (url, _):
        asked = urllib.request.Request(f"http://{url}/predict", body)
        asked.add_header("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        began = time.perf_counter()
        with urllib.request.urlopen(asked, timeout=600) as reply:
            assert len(json.load(reply)["pages"]) == pages
        return pages / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"), help="made if missing")
    parser.add_argument("--out", type=Path, default=Path("runs/pdf"))
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--peer-pages", type=int, default=200)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("COUNTERSIGN_GATEWAY_DATA", str((args.out / "log").resolve()))
    os.environ.setdefault("COUNTERSIGN_GATEWAY_MAX_DOCUMENT_BYTES", str(2**28))  # 1,000 scans
    make_corpus.write(args.corpus, QUICK.files, kinds=(PAGE,))
    jpegs = limit.read(args.corpus, PAGE)
    rate, marks, most = through_gateway(document(jpegs, args.pages, args.out / "long.pdf"))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"gateway: {rate:.1f} pages/s, {marks} marks, {most:.0f} MiB at most, {args.pages} pages")
    short = document(jpegs, args.peer_pages, args.out / "short.pdf")
    onnx = write_onnx(args.out / "onnx", None) / weights.USUAL
    theirs = through_peer(short, args.peer_pages, onnx)
    print(f"FastAPI, pypdfium2, ultralytics: {theirs:.1f} pages/s, {args.peer_pages} pages")
    print(f"ratio: {rate / theirs:.2f}")


if __name__ == "__main__":
    main()
