"""The loss of document_lite: which cells learn which box, and how.

A box is learnt by the cells that say it best already. Of those in it, or near its middle, each
costs its cross-entropy and the logarithm of its overlap; a box gets as many of the cheapest as its
ten best overlaps add up to (SimOTA, arXiv:2107.08430). A cell's score is to be its overlap with its
box, zero where it has none (varifocal loss, arXiv:2008.13367); its box follows the generalised
overlap (GIoU, arXiv:1902.09630).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from training.detector.data import Batch, background
from training.detector.lite_net import STRIDES, Lite, boxes_of, cells

NEAR = 2.5  # strides from a box's middle within which a cell may learn it
MOST = 10  # overlaps that say how many cells learn a box
OVERLAP = 3.0  # weight of the overlap in a cell's cost
NONE = -1  # no box
AWAY = 1e3  # what it costs not to be both in a box and near its middle
ALPHA, GAMMA = 0.75, 2.0  # of the varifocal loss
CLS = 3.0  # by which it is smaller than the cross-entropy that recipes weigh


def overlaps(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes (..., 4), xyxy, that broadcast."""
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(
        boxes[..., 2:], others[..., 2:]
    )  # fmt: skip
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (boxes, others)]
    union = (areas[0] + areas[1] - common).clamp(min=1e-6)
    hull = (
        torch.maximum(boxes[..., 2:], others[..., 2:])
        - torch.minimum(boxes[..., :2], others[..., :2])
    ).prod(-1).clamp(min=1e-6)  # fmt: skip
    iou = common / union
    return iou, iou - (hull - union) / hull


@torch.no_grad()
def assign(
    logits: Tensor, boxes: Tensor, class_ids: Tensor, xyxy: Tensor, there: Tensor, middles: Tensor,
    strides: Tensor,
) -> Tensor:  # fmt: skip
    """Which of its view's boxes each cell learns, (B, A), NONE for none.

    `logits` (B, A, C) and `boxes` (B, A, 4) are what the cells say, `class_ids` (B, N) and `xyxy`
    (B, N, 4) what is to be said, where `there` (B, N) holds.
    """
    from_middle = (middles - (xyxy[..., None, :2] + xyxy[..., None, 2:]) / 2).abs().amax(-1)
    near = from_middle < NEAR * strides  # (B, N, A), as all below
    inside = (middles > xyxy[..., None, :2]).all(-1) & (middles < xyxy[..., None, 2:]).all(-1)
    may = (near | inside) & there[..., None]
    iou, _ = overlaps(boxes[:, None], xyxy[:, :, None])
    said = logits.transpose(1, 2).gather(1, class_ids[..., None].expand_as(iou))
    cost = binary_cross_entropy_with_logits(said, torch.ones_like(said), reduction="none")
    cost = cost - OVERLAP * (iou + 1e-8).log() + AWAY * ~(near & inside)
    cost = cost.masked_fill(~may, float("inf"))
    best_overlaps = (iou * may.any(1, keepdim=True)).topk(MOST).values
    counts = best_overlaps.sum(-1, keepdim=True).long().clamp(min=1)
    cheapest = cost.topk(MOST, largest=False)
    taken = cheapest.values.masked_fill(
        torch.arange(MOST, device=iou.device) >= counts, float("inf")
    )
    learnt = torch.full_like(cost, float("inf")).scatter(-1, cheapest.indices, taken).min(1)
    return learnt.indices.masked_fill(learnt.values.isinf(), NONE)  # a cell learns one box


def by_view(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """A batch's boxes, N for each view: class ids (B, N), xyxy (B, N, 4) in pixels of the input,
    and which of them there are, (B, N). N is that of the view with most boxes, at least 1.
    """
    views, _, height, width = batch.pixels.shape
    image = batch.image.long()
    counts = image.bincount(minlength=views)
    number = torch.arange(len(image)) - (counts.cumsum(0) - counts)[image]
    most = max(1, int(counts.max()))
    centre, half = batch.cxcywh[:, :2], batch.cxcywh[:, 2:] / 2
    size = torch.tensor([width, height] * 2)
    class_ids, xyxy = torch.zeros(views, most).long(), torch.zeros(views, most, 4)
    class_ids[image, number] = batch.class_ids.long()
    xyxy[image, number] = torch.cat([centre - half, centre + half], 1) * size
    return class_ids, xyxy, torch.arange(most) < counts[:, None]


def loss_of(
    model: Lite, gains: dict[str, float]
) -> Callable[[Batch, float], tuple[Tensor, dict[str, Tensor]]]:
    """A function of a batch and of the share of the run that is done: the loss per view to be
    learnt from, and its parts by name, detached.

    `gains` are the weights of its parts, of which it takes box and cls. No background is learnt
    where `data.background` has none.
    """
    device = next(model.parameters()).device
    forward = torch.compile(model) if device.type == "cuda" else model

    def loss(batch: Batch, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = batch.pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
        pixels = pixels.float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            outputs = forward(pixels)
        outputs = outputs.float().transpose(1, 2)  # (B, A, 4 + C)
        height, width = pixels.shape[2:]
        middles, strides = (one.to(device) for one in cells(height, width))
        boxes, logits = boxes_of(outputs[..., :4], middles, strides), outputs[..., 4:]
        class_ids, xyxy, there = (one.to(device) for one in by_view(batch))

        box = assign(logits, boxes, class_ids, xyxy, there, middles, strides)
        view, cell = (box != NONE).nonzero(as_tuple=True)
        box = box[view, cell]
        iou, general = overlaps(boxes[view, cell], xyxy[view, box])
        weights = iou.detach().clamp(min=0.05)
        targets = torch.zeros_like(logits)
        targets[view, cell, class_ids[view, box]] = weights
        scale = weights.sum().clamp(min=1)
        box_loss = ((1 - general) * weights).sum() / scale
        entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        heed = torch.where(targets > 0, targets, ALPHA * logits.detach().sigmoid() ** GAMMA)
        counts = background(batch, list(STRIDES)).to(device) | (targets > 0)
        cls_loss = (entropy * heed * counts).sum() / scale
        total = gains["box"] * box_loss + CLS * gains["cls"] * cls_loss
        return total, {"box": box_loss.detach(), "cls": cls_loss.detach()}

    return loss
