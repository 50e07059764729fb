"""Detectors of others as they come: ultralytics checkpoints, transformers folders, ONNX files.

What is read here, classes, input size, head and the way pages were fitted, is all that the rest of
the export knows of a detector.
"""

import ast
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # a checkpoint installs nothing

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection
from ultralytics.nn.modules.head import Detect, RTDETRDecoder, v10Detect
from ultralytics.nn.tasks import load_checkpoint

from export.steps import fit as fits

DETR_HEADS = {"detr": "queries", "conditional_detr": "query_classes"}

# pixels (1, S, S, 3) uint8 and letterbox (4,) float32 -> predictions float32
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Detector:
    """A detector as it is to be served. `graph` takes pixels, and letterbox where `masked`."""

    graph: Any  # an nn.Module to convert, or the Path of an ONNX file to serve as it is
    classes: tuple[str, ...]
    head: str  # a function of document_postprocess/1/heads.py
    fit: Any  # fits.Fit
    masked: bool = False
    last_block: int = 0  # number of the head among a YOLO's blocks
    license: str = "AGPL-3.0"  # ultralytics' own, for what is trained with it


class Served(nn.Module):
    """pixels (1, S, S, 3) uint8 RGB -> what a YOLO says of them, boxes in input pixels."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.detector(pixels.permute(0, 3, 1, 2).float() / 255)


class ServedRtdetr(Served):
    """The same for RT-DETR, whose boxes are shares (cx, cy, w, h): predictions (1, N, 6)."""

    def forward(self, pixels: Tensor) -> Tensor:
        rows = super().forward(pixels)
        side = pixels.shape[1]
        centre, size = rows[..., :2] * side, rows[..., 2:4] * side
        return torch.cat([centre - size / 2, centre + size / 2, rows[..., 4:]], -1)


class ServedDetr(nn.Module):
    """pixels (1, S, S, 3) uint8 RGB and letterbox (4,) -> predictions (1, Q, 4 + C).

    Only the pixels inside the letterbox count, so that the page is seen as it is without padding.
    Boxes are centre x, centre y, width, height in input pixels; those of the network are shares of
    the page, or of the whole square if `square`. Scores are each class's own, or for DETR, which
    has a class for none of them, shares of one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, detr: Any, scale: float, mean: list[float], std: list[float], square: bool
    ) -> None:
        super().__init__()
        self.detr, self.scale, self.square = detr, scale, square
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, pixels: Tensor, letterbox: Tensor) -> Tensor:
        side = pixels.shape[1]
        along = torch.arange(side, dtype=torch.float32)
        mask = (along < letterbox[3])[:, None] & (along < letterbox[2])[None]
        planes = (pixels.permute(0, 3, 1, 2).float() * self.scale - self.mean) / self.std
        found = self.detr(pixel_values=planes * mask, pixel_mask=mask[None].long())
        if self.detr.config.model_type == "detr":  # whose last class is "no object"
            scores = found.logits.softmax(-1)[..., :-1]
        else:
            scores = found.logits.sigmoid()
        size = torch.full((2,), float(side)) if self.square else letterbox[2:]
        return torch.cat([found.pred_boxes * size.repeat(2), scores], -1)


def load(source: str, side: int | None = None) -> Detector:
    """The detector at `source`: a .pt or .onnx file, a transformers folder, or a hub id.

    `side` is another input size, in pixels, than the one it says. Raises ValueError in one line if
    it is none of these, no detector, of a head not known, or its classes cannot be told apart.
    """
    path = Path(source)
    if path.is_file():
        detector = _onnx(path, side) if path.suffix == ".onnx" else _ultralytics(path, side)
    elif path.is_dir() or (source.count("/") == 1 and path.suffix not in (".pt", ".onnx")):
        detector = _transformers(source, side)
    else:
        raise ValueError(f"{source}: no such file or folder")
    repeated = sorted({name for name in detector.classes if detector.classes.count(name) > 1})
    if repeated:
        raise ValueError(f"{source}: classes {', '.join(repeated)} are there more than once")
    if not all(name and "," not in name for name in detector.classes):
        raise ValueError(f"{source}: classes {detector.classes}, a name is empty or has a comma")
    return detector


def _ultralytics(path: Path, side: int | None) -> Detector:
    if not zipfile.is_zipfile(path):  # what torch.save writes
        raise ValueError(f"{path}: {path.stat().st_size} bytes, no checkpoint")
    try:
        model = load_checkpoint(path)[0]
    except (TypeError, RuntimeError, AttributeError, KeyError, ModuleNotFoundError) as error:
        raise ValueError(f"{path}: no ultralytics checkpoint: {_line(error)}") from error
    head = model.model[-1]
    if type(head) not in (Detect, v10Detect, RTDETRDecoder):  # others are made from these
        raise ValueError(
            f"{path}: a checkpoint with the head {type(head).__name__}, those of detectors are "
            "Detect, v10Detect and RTDETRDecoder"
        )
    stride = int(model.stride.max())
    side = _square(path, side or model.args["imgsz"])
    if side % stride:
        raise ValueError(f"{path}: input size {side}, not a multiple of its stride {stride}")
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True  # of its two heads the one that needs no NMS
    model = model.float().fuse(verbose=False).eval()
    head.export, head.format, head.dynamic = True, "openvino", False
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    classes = tuple(model.names[i] for i in sorted(model.names))
    if isinstance(head, RTDETRDecoder):
        return Detector(ServedRtdetr(model).eval(), classes, "end2end", fits.Fit(side, "stretch"))
    kind = "end2end" if head.end2end else "grid"
    return Detector(
        Served(model).eval(), classes, kind, fits.Fit(side), last_block=len(model.model) - 1
    )


def _transformers(source: str, side: int | None) -> Detector:
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in DETR_HEADS:
            raise ValueError(
                f"{source}: head of {config.model_type}, known are {', '.join(DETR_HEADS)}"
            )
        processor: Any = AutoImageProcessor.from_pretrained(source)
        # its other attention leaves out the mask where an example needs none
        detr: Any = AutoModelForObjectDetection.from_pretrained(source, attn_implementation="eager")
    except OSError as error:
        if Path(source).is_dir():
            raise ValueError(f"{source}: no transformers checkpoint: {_line(error)}") from error
        raise ValueError(
            f"{source}: no such folder, and the hub does not give it; where there is a network, "
            f"`hf download {source} --local-dir DIR`, then export DIR"
        ) from error
    fit, square = _detr_fit(source, processor, side)
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = processor.image_mean, processor.image_std
    if not processor.do_normalize:
        mean, std = [0.0] * 3, [1.0] * 3
    for parameter in detr.parameters():
        parameter.requires_grad_(False)
    classes = tuple(config.id2label[i] for i in sorted(config.id2label))
    graph = ServedDetr(detr, scale, list(mean), list(std), square).eval()
    return Detector(
        graph,
        classes,
        DETR_HEADS[config.model_type],
        fit,
        masked=True,
        license="as its source says",
    )


def _detr_fit(source: str, processor: Any, side: int | None) -> tuple[Any, bool]:
    """How its processor fits a page, and whether its boxes are shares of the whole square.

    They are if it pads to a fixed size, since it then rewrites the training boxes so.
    """
    size = processor.size
    padded = bool(processor.do_pad and processor.pad_size)
    if size.height and size.width:
        return fits.Fit(_square(source, side or [size.height, size.width]), "stretch"), True
    if size.max_height and size.max_width:
        own = [size.max_height, size.max_width]
        if padded:
            own = [processor.pad_size["height"], processor.pad_size["width"], *own]
        return fits.Fit(_square(source, side or own), "corner"), padded
    if size.shortest_edge and size.longest_edge and not padded:
        if side:
            return fits.Fit(side, "corner"), False
        return fits.Fit(size.longest_edge, "corner", size.shortest_edge), False
    raise ValueError(f"{source}: its processor's size {dict(size)} is not known")


def _onnx(path: Path, side: int | None) -> Detector:
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no base of their own
        raise ValueError(f"{path}: no ONNX file: {_line(error)}") from error
    said = session.get_modelmeta().custom_metadata_map
    if not {"names", "task"} <= said.keys():
        raise ValueError(f"{path}: no classes in it, as ultralytics' own export writes them")
    if said["task"] != "detect":
        raise ValueError(f"{path}: a graph for {said['task']}, only detect can be served")
    names = ast.literal_eval(said["names"])
    classes = tuple(names[i] for i in sorted(names))
    pixels, predictions = session.get_inputs()[0], session.get_outputs()[0]
    if (
        pixels.type != "tensor(float)"
        or pixels.shape[:2] != [1, 3]
        or side not in (None, pixels.shape[2])
    ):
        raise ValueError(
            f"{path}: input {pixels.type} {pixels.shape}, expected float [1, 3, S, S], fixed"
        )
    fit = fits.Fit(_square(path, pixels.shape[2:]), planes=True)
    rows = predictions.shape
    if said.get("head") != "RTDETRDecoder" and rows[1] == 4 + len(classes) and rows[2] > 6:
        return Detector(path, classes, "grid", fit)
    if said.get("end2end") == "True" and rows[2] == 6:
        return Detector(path, classes, "end2end", fit)
    raise ValueError(f"{path}: a head with output {rows}, known are grids and end-to-end ones")


def _square(source: Any, size: Any) -> int:
    """The side in pixels. ValueError unless `size` is a number, or the same one several times."""
    sides = set(size if isinstance(size, (list, tuple)) else [size])
    if len(sides) != 1 or not all(isinstance(one, int) and one > 0 for one in sides):
        raise ValueError(f"{source}: input size {size}, only squares can be served; give --imgsz")
    return sides.pop()


def _line(error: BaseException) -> str:
    """The first line of what an exception says, for a message of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
