"""The usual service for PDFs: FastAPI, pypdfium2 and ultralytics' ONNX path in one process.

python -m benchmarks.speed.peers.fastapi_pdf --onnx usual.onnx --port 8100

Pages are drawn in one thread and looked at in another, which is as quick as one process gets:
PDFium is for one thread, and a model of ultralytics too.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import uvicorn
from fastapi import FastAPI, UploadFile
from ultralytics import YOLO

from benchmarks.speed.peers.fastapi_ultralytics import CONFIDENCE, IOU

DPI = 150
AHEAD = 4  # pages that are drawn before they are looked at


def service(onnx: Path) -> FastAPI:
    """POST a PDF to /predict; GET /health says when it is up."""
    app = FastAPI()
    model: Any = YOLO(onnx, task="detect")
    model.predict(np.zeros((640, 640, 3), np.uint8), verbose=False)  # loads the weights

    @app.post("/predict")
    def predict(file: UploadFile) -> dict:  # in a thread of FastAPI's pool
        pages = []
        for page in drawn(file.file.read()):
            (found,) = model.predict(page, conf=CONFIDENCE, iou=IOU, verbose=False)
            pages.append({"boxes": found.boxes.xyxy.tolist(), "scores": found.boxes.conf.tolist()})
        return {"pages": pages}

    @app.get("/health")
    def health() -> str:
        return "ok"

    return app


def drawn(data: bytes) -> Iterator[np.ndarray]:
    """Each page, (H, W, 3) BGR uint8."""
    document = pdfium.PdfDocument(data)

    def draw(number: int) -> np.ndarray:
        return document[number].render(scale=DPI / 72).to_numpy()[:, :, :3]

    with ThreadPoolExecutor(1) as pool:
        begun: list[Future] = []
        for number in range(len(document)):
            begun.append(pool.submit(draw, number))
            if len(begun) > AHEAD:
                yield begun.pop(0).result()
        for each in begun:
            yield each.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    uvicorn.run(service(args.onnx), host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
