"""Every kind of detector, exported and served, finds what its own framework finds.

One server at f32 has them all. Pages are no larger than the input, so that the frameworks and the
served steps enlarge them alike; how pages are shrunk is document_preprocess' own matter.
"""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup
from ultralytics import RTDETR, YOLO

from countersign import Client, Refused
from export import checkpoints, detector
from export.gates import check_contract
from server import Settings, Triton
from training.detector.labels import Labelled

SHIPPED = Path(__file__).parents[2] / "model_repository"
GRIDS = ("yolov8n", "yolo11n", "yolo12n")
CHOOSERS = ("yolov10n", "yolo26n")  # end-to-end heads
DETRS = ("conditional", "padded", "detr")
ULTRALYTICS = (*GRIDS, *CHOOSERS, "rtdetr")
ONNX = {"onnx_cpu": "yolov8n", "onnx_openvino": "yolov10n"}
OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }\n'
SHAPES = [(128, 128), (90, 128), (128, 60), (64, 48)]  # width, height
ASKED, SURE = 0.25, 0.27  # what is asked for, and what both sides must then have
BOXES, SCORES = 0.5, 1e-2  # largest differences: px of the page, and scores; FP16 rounds weights


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Labelled]:
    """Pages of noise in four shapes, with a box of each class."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    pages = []
    for width, height in SHAPES:
        noise = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        path = folder / f"{width}x{height}.png"
        cv2.imwrite(str(path), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
        xyxy = np.array([[5, 6, 15, 19], [20, 30, 28, 38]], np.float32)
        none = np.empty((0, 4), np.float32)
        pages.append(Labelled(path, path.stem, (width, height), np.array([0, 1]), xyxy, none))
    return pages


@pytest.fixture(scope="module")
def sources(saved, tmp_path_factory) -> dict[str, Path]:
    """Name of each detector -> its checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {kind: saved(folder / f"{kind}.pt", kind) for kind in ULTRALYTICS if kind != "yolov8n"}
    made["yolov8n"] = saved(folder / "yolov8n.pt", "yolov8n", names=("signature",), imgsz=160)
    made |= {kind: saved(folder / kind, kind) for kind in DETRS}
    for name, kind in ONNX.items():
        said = {"end2end": "True"} if kind in CHOOSERS else {}
        made[name] = saved(folder / f"{name}.onnx", kind, **said)
    return made


@pytest.fixture(scope="module")
def repository(sources, pages, tmp_path_factory) -> Path:
    """A repository with a detector of each kind and nothing else."""
    repository = tmp_path_factory.mktemp("served") / "repository"
    for name, source in sources.items():
        card = detector.export(
            checkpoints.load(str(source)), pages, {}, repository, name, precision=0.0
        )
        assert card["name"] == f"{name}_model"
    config = repository / "onnx_openvino_model" / "config.pbtxt"
    config.write_text(config.read_text() + OPENVINO)
    return repository


@pytest.fixture(scope="module")
def zoo(repository):
    """The server of that repository."""
    with Triton(
        Settings(repository, http_port=0, grpc_port=0, metrics_port=0, precision="f32")
    ) as zoo:
        yield zoo


@pytest.fixture(params=["grpc", "http"])
def client(zoo, request):
    with Client(getattr(zoo, f"{request.param}_url"), protocol=request.param) as client:
        yield client


def by_ultralytics(name: str, source: Path, page: Path) -> list[tuple]:
    """What ultralytics' own predict finds, as (label, score, xyxy)."""
    kind = RTDETR if name == "rtdetr" else YOLO
    side = 160 if name == "yolov8n" else 128
    nms = False if name in CHOOSERS or ONNX.get(name) in CHOOSERS else None
    (found,) = kind(source.with_suffix(".pt")).predict(
        cv2.imread(str(page)), imgsz=side, rect=False, conf=ASKED, iou=0.5, max_det=300,
        nms=nms, device="cpu", verbose=False,
    )  # fmt: skip
    rows = zip(found.boxes.cls, found.boxes.conf, found.boxes.xyxy.numpy(), strict=True)
    return [(found.names[int(i)], float(score), xyxy) for i, score, xyxy in rows]


def by_transformers(name: str, source: Path, page: Path) -> list[tuple]:
    """The same, by the processor's own post_process_object_detection."""
    config = checkpoints.AutoConfig.from_pretrained(source)
    processor = checkpoints.AutoImageProcessor.from_pretrained(source)
    model = checkpoints.AutoModelForObjectDetection.from_pretrained(source).eval()
    image = Image.open(page).convert("RGB")
    with torch.no_grad():
        outputs = model(**processor(image, return_tensors="pt"))
    size = np.array(image.size)
    # boxes of one that pads to a fixed size are shares of what it pads to: 128 px
    whole = size * 128 / (size * (128 / size.max())) if name == "padded" else size
    (found,) = processor.post_process_object_detection(
        outputs, ASKED, torch.tensor(whole[::-1].copy())[None]
    )
    xyxy = np.clip(found["boxes"].numpy().reshape(-1, 2, 2), 0, size).reshape(-1, 4)
    rows = zip(found["labels"], found["scores"], xyxy, strict=True)
    return [(config.id2label[int(i)], float(score), box) for i, score, box in rows]


def unmatched(ones: list[tuple], others: list[tuple]) -> list[tuple]:
    """Those of `ones`, surer than SURE, of which `others` have none within the limits."""
    return [
        (label, score, xyxy)
        for label, score, xyxy in ones
        if score >= SURE
        and not any(
            label == other and abs(score - at) <= SCORES and np.abs(xyxy - box).max() <= BOXES
            for other, at, box in others
        )
    ]


@pytest.mark.parametrize("name", [*ULTRALYTICS, *DETRS, *ONNX])
def test_served_boxes_are_those_of_the_framework(client, sources, pages, name):
    theirs_of = by_transformers if name in DETRS else by_ultralytics
    for page in pages:
        found = client.detect(page.path, confidence=ASKED, model=name)
        served = [(one.label, one.score, np.array(one.box)) for one in found]
        theirs = theirs_of(name, sources[name], page.path)
        assert theirs
        assert unmatched(theirs, served) == []
        assert unmatched(served, theirs) == []
        assert found.page_size == page.size
