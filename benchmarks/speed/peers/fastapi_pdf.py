"""The usual service for PDFs: FastAPI, pypdfium2 and ultralytics' ONNX path in one process.

python -m benchmarks.speed.peers.fastapi_pdf --onnx usual.onnx --port 8100

Pages are drawn in one thread and looked at in another, which is as quick as one process gets:
PDFium is for one thread, and a model of ultralytics too.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
from fastapi import FastAPI, UploadFile

from benchmarks.speed.peers.fastapi_ultralytics import CONFIDENCE, IOU, healthy, loaded, main

DPI = 150
AHEAD = 4  # pages that are drawn before they are looked at


def service(onnx: Path) -> FastAPI:
    """POST a PDF to /predict; GET /health says when it is up."""
    app, model = healthy(), loaded(onnx)

    @app.post("/predict")
    def predict(file: UploadFile) -> dict:  # in a thread of FastAPI's pool
        pages = []
        for page in drawn(file.file.read()):
            (found,) = model.predict(page, conf=CONFIDENCE, iou=IOU, verbose=False)
            pages.append({"boxes": found.boxes.xyxy.tolist(), "scores": found.boxes.conf.tolist()})
        return {"pages": pages}

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


if __name__ == "__main__":
    main(service, __doc__)
