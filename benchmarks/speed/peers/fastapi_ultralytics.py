"""The usual service: FastAPI over ultralytics' ONNX path, the model loaded once.

python -m benchmarks.speed.peers.fastapi_ultralytics --onnx usual.onnx --port 8100
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, UploadFile
from ultralytics import YOLO

CONFIDENCE, IOU = 0.43, 0.5  # about the served operating point


def service(onnx: Path) -> FastAPI:
    """POST a file to /predict; GET /health says when it is up."""
    app, model = healthy(), loaded(onnx)

    @app.post("/predict")
    def predict(file: UploadFile) -> dict:  # in a thread of FastAPI's pool
        page = cv2.imdecode(np.frombuffer(file.file.read(), np.uint8), cv2.IMREAD_COLOR)
        if page is None:
            raise HTTPException(400, "no image")
        (found,) = model.predict(page, conf=CONFIDENCE, iou=IOU, verbose=False)
        return {
            "boxes": found.boxes.xyxy.tolist(),
            "scores": found.boxes.conf.tolist(),
            "labels": [found.names[int(class_id)] for class_id in found.boxes.cls],
        }

    return app


def healthy() -> FastAPI:
    """An app with /health alone."""
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    return app


def loaded(onnx: Path) -> Any:
    """ultralytics' model, its weights in memory."""
    model = YOLO(onnx, task="detect")
    model.predict(np.zeros((640, 640, 3), np.uint8), verbose=False)
    return model


def main(service: Callable[[Path], FastAPI], text: str) -> None:
    """Runs a service, which `text` describes, as the command line says."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    uvicorn.run(service(args.onnx), host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main(service, __doc__)
