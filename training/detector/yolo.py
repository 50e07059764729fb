"""ultralytics' detectors (AGPL-3.0) as the training loop takes them."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, load_checkpoint

from inprocess.steps import heads
from training.detector.labels import CLASSES
from training.detector.loss import loss_of as loss_of
from training.detector.score import Found


def build(plan: str, start: Path | None) -> Any:
    """The network of CLASSES: that of a checkpoint, whose head is begun anew but for classes of
    the same name where it has others; else that of a plan. ValueError if `start` is no checkpoint.
    """
    if start and not zipfile.is_zipfile(start):  # what torch.save writes
        raise ValueError(f"{start}: {start.stat().st_size} bytes, no checkpoint")
    model: Any = load_checkpoint(start)[0] if start else None
    if model is None or tuple(model.names.values()) != CLASSES:
        before, plan = model, model.yaml if model else plan
        kind = RTDETRDetectionModel if "rtdetr" in str(plan).lower() else DetectionModel
        model = kind(plan, nc=len(CLASSES), verbose=False)
        model.names, model.nc = dict(enumerate(CLASSES)), len(CLASSES)
        if before is not None:
            model.load(before, verbose=False)
    return model


def fix_norm(model: nn.Module) -> None:
    """Train with the batch statistics that `model` has, folded into the convolutions' weights."""
    for layer in model.modules():
        if type(layer) in (Conv, DWConv):
            layer.forward = partial(_convolve, layer)


def _convolve(layer: Any, x: Tensor) -> Tensor:
    norm, conv = layer.bn, layer.conv
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    return layer.act(conv._conv_forward(x, weight, norm.bias - norm.running_mean * scale))


def found(model: Any, outputs: Any, fit: Any, limits: Any) -> Found:
    """What the network's outputs for one page are, in pixels of the input."""
    rows = outputs[0][0].float().cpu().numpy()
    if isinstance(model, RTDETRDetectionModel):
        rows[:, :4] *= (fit.width, fit.height) * 2
        return Found(*heads.query_classes(rows, limits))
    return Found(*(heads.end2end if model.model[-1].end2end else heads.grid)(rows, limits))


def checkpoint(model: Any) -> dict[str, Any]:
    """What last.pt holds, as ultralytics reads it."""
    model = model.cpu().half()
    model.criterion = None
    return {"model": model, "train_args": model.args, "epoch": -1, "ema": None}
