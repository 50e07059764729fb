"""The loss of ultralytics' detectors, deaf where the labels say nothing.

What is no background (data.py) is not learnt as such; what is boxed counts everywhere. RT-DETR's
loss matches queries to boxes and cannot be masked.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

from training.detector.data import Batch, background

FIRST_MANY, LAST_MANY = 0.8, 0.1  # weight of YOLO26's head of many boxes, as ultralytics has it


class MaskedCrossEntropy:
    """Binary cross-entropy per anchor and class, zero where nothing is boxed and `background`, set
    before each batch, does not hold.
    """

    background: Tensor

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses * (self.background | (targets > 0))


def loss_of(
    model: Any, gains: dict[str, float]
) -> Callable[[Batch, float], tuple[Tensor, dict[str, Tensor]]]:
    """A function of a batch and of the share of the run that is done: the loss per view to be
    learnt from, and its parts by name, detached.

    `gains` are the weights of its parts: box, cls, dfl.
    """
    device = next(model.parameters()).device
    model.args = SimpleNamespace(**gains)  # where ultralytics looks for them
    masks: list[MaskedCrossEntropy] = []
    criterion = None
    if not isinstance(model, RTDETRDetectionModel):
        criterion = model.init_criterion()
        for part in (criterion, *vars(criterion).values()):
            if isinstance(part, v8DetectionLoss):
                masks.append(MaskedCrossEntropy())
                part.bce = masks[-1]  # type: ignore[assignment]  # called alike
    forward = torch.compile(model) if device.type == "cuda" else model
    strides = [int(stride) for stride in getattr(model, "stride", [])]

    def loss(batch: Batch, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        labels = {
            "batch_idx": batch.image.to(device),
            "cls": batch.class_ids[:, None].to(device),
            "bboxes": batch.cxcywh.to(device),
        }
        pixels = batch.pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
        pixels = pixels.float() / 255
        labels["img"] = pixels
        with torch.autocast(device.type, torch.bfloat16):
            if criterion is None:
                outputs = model.predict(pixels, batch=_queries(labels, len(pixels)))
            else:
                outputs = forward(pixels)
        outputs = in_float32(outputs)
        if criterion is None:
            total, parts = model.loss(labels, outputs)
        else:
            if isinstance(criterion, E2ELoss):  # YOLO26 learns from many boxes first, then from one
                criterion.o2m = FIRST_MANY + (LAST_MANY - FIRST_MANY) * done
                criterion.o2o = 1 - criterion.o2m
            mask = background(batch, strides).to(device)
            for part in masks:
                part.background = mask
            total, parts = criterion(outputs, labels)
            total = total / len(pixels)
        return total.sum(), {name: value.detach() for name, value in parts.items()}

    return loss


def _queries(labels: dict[str, Tensor], views: int) -> dict[str, Any]:
    """The boxes as RT-DETR's decoder takes them, which learns to denoise them too."""
    image = labels["batch_idx"].long()
    return {
        "cls": labels["cls"].long().view(-1),
        "bboxes": labels["bboxes"],
        "batch_idx": image,
        "gt_groups": torch.bincount(image, minlength=views).tolist(),
    }


def in_float32(value: Any) -> Any:
    """Floating point tensors in nested dicts, lists and tuples as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {name: in_float32(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(in_float32(item) for item in value)
    return value
