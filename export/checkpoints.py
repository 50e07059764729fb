"""Detectors as they come: checkpoints of ultralytics and of document_lite, transformers folders,
ONNX files.

What is read here, classes, input size, head and the way pages were fitted, is all that the rest of
the export knows of a detector.
"""

import ast
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

from inprocess.steps import fit as fits
from training.detector import lite
from training.detector.lite_net import STRIDES, Lite, predictions

DETR_HEADS = {"detr": "queries", "conditional_detr": "query_classes"}


# pixels (1, H, W, 3) uint8 and letterbox (4,) float32 -> predictions float32
Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Detector:
    """A detector as it is to be served. `graph` takes pixels, and letterbox where `masked`."""

    graph: Any  # an nn.Module to convert, or the Path of an ONNX file to serve as it is
    classes: tuple[str, ...]
    head: str  # a function of document_postprocess/1/heads.py
    fit: Any  # fits.Fit
    masked: bool = False
    floats: tuple[str, ...] = ()  # patterns of names that INT8 leaves in float
    symmetric: bool = False  # INT8 without zero points, faster; for activations of ReLU
    license: str = "AGPL-3.0"  # ultralytics' own, for what is trained with it


class Served(nn.Module):
    """pixels (1, H, W, 3) uint8 RGB -> what a YOLO says of them, boxes in input pixels."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.detector(pixels.permute(0, 3, 1, 2).float() / 255)


class ServedLite(nn.Module):
    """The same of document_lite."""

    def __init__(self, detector: Lite) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        outputs = self.detector(pixels.permute(0, 3, 1, 2).float() / 255)
        return predictions(outputs, int(pixels.shape[1]), int(pixels.shape[2]))


class ServedRtdetr(Served):
    """The same for RT-DETR, whose boxes are shares (cx, cy, w, h): predictions (1, N, 6)."""

    def forward(self, pixels: Tensor) -> Tensor:
        rows = super().forward(pixels)
        whole = rows.new_tensor([int(pixels.shape[2]), int(pixels.shape[1])])
        centre, size = rows[..., :2] * whole, rows[..., 2:4] * whole
        return torch.cat([centre - size / 2, centre + size / 2, rows[..., 4:]], -1)


class ServedDetr(nn.Module):
    """pixels (1, H, W, 3) uint8 RGB and letterbox (4,) -> predictions (1, Q, 4 + C).

    Only the pixels inside the letterbox count, so that the page is seen as it is without padding.
    Boxes are centre x, centre y, width, height in input pixels; those of the network are shares of
    the page, or of the whole input if `whole`. Scores are each class's own, or for DETR, which
    has a class for none of them, shares of one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, detr: Any, scale: float, mean: list[float], std: list[float], whole: bool
    ) -> None:
        super().__init__()
        self.detr, self.scale, self.whole = detr, scale, whole
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, pixels: Tensor, letterbox: Tensor) -> Tensor:
        height, width = map(int, pixels.shape[1:3])
        down = torch.arange(height, dtype=torch.float32) < letterbox[3]
        across = torch.arange(width, dtype=torch.float32) < letterbox[2]
        mask = down[:, None] & across[None]
        planes = (pixels.permute(0, 3, 1, 2).float() * self.scale - self.mean) / self.std
        found = self.detr(pixel_values=planes * mask, pixel_mask=mask[None].long())
        if self.detr.config.model_type == "detr":  # whose last class is "no object"
            scores = found.logits.softmax(-1)[..., :-1]
        else:
            scores = found.logits.sigmoid()
        size = torch.tensor([width, height]) if self.whole else letterbox[2:]
        return torch.cat([found.pred_boxes * size.repeat(2), scores], -1)


def load(source: str, imgsz: Sequence[int] = (), way: str = "") -> Detector:
    """The detector at `source`: a .pt or .onnx file, a transformers folder, or a hub id.

    `imgsz` is another input size than the one it says: height and width in pixels, or one number
    for both. `way` is another of fit.WAYS to fit pages than the one it says, not for DETR.
    Raises ValueError in one line if it is none of these, no detector, of a head not known, or its
    classes cannot be told apart.
    """
    path = Path(source)
    if path.is_file():
        if path.suffix == ".onnx":
            detector = _onnx(path, imgsz)
        else:
            detector = (_lite if lite.is_one(path) else _ultralytics)(path, imgsz)
    elif path.is_dir() or (source.count("/") == 1 and path.suffix not in (".pt", ".onnx")):
        detector = _transformers(source, imgsz)
    else:
        raise ValueError(f"{source}: no such file or folder")
    repeated = sorted({name for name in detector.classes if detector.classes.count(name) > 1})
    if repeated:
        raise ValueError(f"{source}: classes {', '.join(repeated)} are there more than once")
    if not all(name and "," not in name for name in detector.classes):
        raise ValueError(f"{source}: classes {detector.classes}, a name is empty or has a comma")
    if way and detector.masked:
        raise ValueError(f"{source}: fit {way!r}, but its pages are fitted as its processor says")
    return replace(detector, fit=detector.fit._replace(way=way)) if way else detector


def _ultralytics(path: Path, imgsz: Sequence[int]) -> Detector:
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
    height, width = _size(path, imgsz or model.args["imgsz"], int(model.stride.max()))
    way = model.args.get("fit", "letterbox")  # as training/detector writes it
    if way not in fits.WAYS:
        raise ValueError(f"{path}: trained with fit {way!r}, known are {', '.join(fits.WAYS)}")
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True  # of its two heads the one that needs no NMS
    model = model.float().fuse(verbose=False).eval()
    head.export, head.format, head.dynamic = True, "openvino", False
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    classes = tuple(model.names[i] for i in sorted(model.names))
    if isinstance(head, RTDETRDecoder):
        fit = fits.Fit(width, height, "stretch")
        return Detector(ServedRtdetr(model).eval(), classes, "end2end", fit)
    kind = "end2end" if head.end2end else "grid"
    fit = fits.Fit(width, height, way)
    head_end = rf".*model\.{len(model.model) - 1}/"
    ends = r"(cv[23]\.\d/cv[23]\.\d\.2/Conv|Add|Sub|Mul|Div|Concat|Split|Slice).*"
    floats = (r".*/attn/.*", r".*/dfl/.*", head_end + ends)
    return Detector(Served(model).eval(), classes, kind, fit, floats=floats)


def _lite(path: Path, imgsz: Sequence[int]) -> Detector:
    model = lite.read(path).eval().requires_grad_(False)
    height, width = _size(path, imgsz or model.args["imgsz"], STRIDES[-1])
    fit = fits.Fit(width, height, model.args["fit"])
    # sides and logits, and the arithmetic of boxes after them
    floats = (r".*/(sides|logits)/.*", r"/(Add|Sub|Mul|Div|Concat|Slice)(_\d+)?")
    return Detector(
        ServedLite(model).eval(), tuple(model.names.values()), "voted_grid", fit,
        floats=floats, symmetric=True, license="Apache-2.0",
    )  # fmt: skip


def _transformers(source: str, imgsz: Sequence[int]) -> Detector:
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
    fit, whole = _detr_fit(source, processor, imgsz)
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = processor.image_mean, processor.image_std
    if not processor.do_normalize:
        mean, std = [0.0] * 3, [1.0] * 3
    for parameter in detr.parameters():
        parameter.requires_grad_(False)
    classes = tuple(config.id2label[i] for i in sorted(config.id2label))
    graph = ServedDetr(detr, scale, list(mean), list(std), whole).eval()
    return Detector(
        graph,
        classes,
        DETR_HEADS[config.model_type],
        fit,
        masked=True,
        license="as its source says",
    )


def _detr_fit(source: str, processor: Any, imgsz: Sequence[int]) -> tuple[Any, bool]:
    """How its processor fits a page, and whether its boxes are shares of the whole input.

    They are if it pads to a fixed size, since it then rewrites the training boxes so.
    """
    size = processor.size
    padded = bool(processor.do_pad and processor.pad_size)
    if size.height and size.width:
        height, width = _size(source, imgsz or [size.height, size.width])
        return fits.Fit(width, height, "stretch"), True
    largest = [size.max_height, size.max_width]
    pad = [processor.pad_size["height"], processor.pad_size["width"]] if padded else largest
    if all(largest) and largest == pad:
        height, width = _size(source, imgsz or largest)
        return fits.Fit(width, height, "corner"), padded
    if size.shortest_edge and size.longest_edge and not padded:
        height, width = _size(source, imgsz or size.longest_edge)
        return fits.Fit(width, height, "corner", 0 if imgsz else size.shortest_edge), False
    raise ValueError(f"{source}: its processor's size {dict(size)} is not known")


def _onnx(path: Path, imgsz: Sequence[int]) -> Detector:
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no base of their own
        raise ValueError(f"{path}: no ONNX file: {_line(error)}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    if not {"names", "task"} <= metadata.keys():
        raise ValueError(f"{path}: no classes in it, as ultralytics' own export writes them")
    if metadata["task"] != "detect":
        raise ValueError(f"{path}: a graph for {metadata['task']}, only detect can be served")
    names = ast.literal_eval(metadata["names"])
    classes = tuple(names[i] for i in sorted(names))
    pixels, predictions = session.get_inputs()[0], session.get_outputs()[0]
    if (
        pixels.type != "tensor(float)"
        or pixels.shape[:2] != [1, 3]
        or not all(isinstance(one, int) for one in pixels.shape)
        or (imgsz and _size(path, imgsz) != tuple(pixels.shape[2:]))
    ):
        raise ValueError(
            f"{path}: input {pixels.type} {pixels.shape}, expected float [1, 3, H, W], fixed"
            + (f", of {' x '.join(map(str, imgsz))}" if imgsz else "")
        )
    height, width = pixels.shape[2:]
    fit = fits.Fit(width, height, planes=True)
    rows = predictions.shape
    if metadata.get("head") != "RTDETRDecoder" and rows[1] == 4 + len(classes) and rows[2] > 6:
        return Detector(path, classes, "grid", fit)
    if metadata.get("end2end") == "True" and rows[2] == 6:
        return Detector(path, classes, "end2end", fit)
    raise ValueError(f"{path}: a head with output {rows}, known are grids and end-to-end ones")


def _size(source: Any, imgsz: Any, stride: int = 1) -> tuple[int, int]:
    """Height and width in pixels, of one number for both or two. ValueError for anything else, or
    if they are no multiples of `stride`.
    """
    sizes = list(imgsz) if isinstance(imgsz, (list, tuple)) else [imgsz]
    if len(sizes) not in (1, 2) or not all(isinstance(one, int) and one > 0 for one in sizes):
        raise ValueError(f"{source}: input size {imgsz}, known are one or two whole numbers (H W)")
    height, width = sizes[0], sizes[-1]
    if height % stride or width % stride:
        raise ValueError(
            f"{source}: input size {height} x {width}, no multiples of its stride {stride}"
        )
    return height, width


def _line(error: BaseException) -> str:
    """The first line of what an exception says, for a message of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
