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
    logits: Tensor, boxes: Tensor, class_ids: Tensor, xyxy: Tensor, middles: Tensor,
    strides: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Which cells of a view learn, (k,), and which of its n boxes each learns, (k,).

    `logits` (A, C) and `boxes` (A, 4) are what the cells say, `class_ids` (n,) and `xyxy` (n, 4)
    what is there.
    """
    if not len(xyxy):
        none = torch.empty(0, dtype=torch.long, device=boxes.device)
        return none, none
    from_middle = (middles[None] - (xyxy[:, None, :2] + xyxy[:, None, 2:]) / 2).abs().amax(-1)
    near = from_middle < NEAR * strides
    inside = (middles[None] > xyxy[:, None, :2]).all(-1) & (middles[None] < xyxy[:, None, 2:]).all(
        -1
    )
    (candidates,) = (near | inside).any(0).nonzero(as_tuple=True)
    if not len(candidates):
        return candidates, candidates
    iou, _ = overlaps(boxes[None, candidates], xyxy[:, None])  # (n, k)
    said = logits[candidates][:, class_ids].T
    cost = binary_cross_entropy_with_logits(said, torch.ones_like(said), reduction="none")
    cost = cost - OVERLAP * (iou + 1e-8).log()
    cost = cost + AWAY * ~(near & inside)[:, candidates]
    cost = cost.masked_fill(~(near | inside)[:, candidates], float("inf"))
    counts = iou.topk(min(MOST, len(candidates)), dim=1).values.sum(1).long().clamp(min=1)
    ranks = cost.argsort(1).argsort(1)
    chosen = (ranks < counts[:, None]) & cost.isfinite()
    best = cost.masked_fill(~chosen, float("inf")).min(0)  # a cell learns one box
    learns = best.values.isfinite()
    return candidates[learns], best.indices[learns]


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
        pixels = batch.pixels.to(device, memory_format=torch.channels_last).float() / 255
        with torch.autocast(device.type, torch.bfloat16):
            outputs = forward(pixels)
        outputs = outputs.float().transpose(1, 2)  # (B, A, 4 + C)
        height, width = pixels.shape[2:]
        middles, strides = (one.to(device) for one in cells(height, width))
        boxes, logits = boxes_of(outputs[..., :4], middles, strides), outputs[..., 4:]
        size = torch.tensor([width, height], device=device)
        centre, half = (
            batch.cxcywh[:, :2].to(device) * size,
            batch.cxcywh[:, 2:].to(device) * size / 2,
        )
        xyxy = torch.cat([centre - half, centre + half], 1)
        class_ids = batch.class_ids.long().to(device)

        targets = torch.zeros_like(logits)
        lost, weight = [], []
        for view in range(len(pixels)):
            (here,) = (batch.image == view).nonzero(as_tuple=True)
            here = here.to(device)
            learning, box = assign(
                logits[view], boxes[view], class_ids[here], xyxy[here], middles, strides
            )
            iou, general = overlaps(boxes[view, learning], xyxy[here][box])
            targets[view, learning, class_ids[here][box]] = iou.detach().clamp(min=0.05)
            lost.append(1 - general)
            weight.append(iou.detach().clamp(min=0.05))
        weights = torch.cat(weight)
        scale = weights.sum().clamp(min=1)
        box_loss = (torch.cat(lost) * weights).sum() / scale
        entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        heed = torch.where(targets > 0, targets, ALPHA * logits.detach().sigmoid() ** GAMMA)
        counts = background(batch, list(STRIDES)).to(device) | (targets > 0)
        cls_loss = (entropy * heed * counts).sum() / scale
        total = gains["box"] * box_loss + CLS * gains["cls"] * cls_loss
        return total, {"box": box_loss.detach(), "cls": cls_loss.detach()}

    return loss
