"""Depthwise convolutions that a CPU trains faster.

In bfloat16 torch 2.13 takes most of a step for some of their gradients: those of the weights, and
those of the inputs where the stride is not 1. These are found in float32 here: a step of
document_lite took 1.0 s of one core of an AMD EPYC instead of 2.4, 8 views of 512 x 384.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

Pair = tuple[int, int]


class Convolve(torch.autograd.Function):
    """conv2d of maps (B, C, H, W) and weights (C, 1, k, k), both bfloat16."""

    @staticmethod
    def forward(context: Any, maps: Tensor, weights: Tensor, stride: Pair, padding: Pair) -> Tensor:
        context.save_for_backward(maps, weights)
        context.stride, context.padding = stride, padding
        return conv2d(maps, weights, None, stride, padding, groups=len(weights))

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        maps, weights = context.saved_tensors

        def gradients(kind: torch.dtype, of_maps: bool, of_weights: bool) -> tuple[Any, Any, Any]:
            return torch.ops.aten.convolution_backward(
                *(one.to(kind) for one in (slope, maps, weights)),
                *(None, context.stride, context.padding, (1, 1), False, (0, 0), len(weights)),
                (of_maps, of_weights, False),
            )

        if context.stride == (1, 1):
            to_maps, _, _ = gradients(maps.dtype, True, False)
            _, to_weights, _ = gradients(torch.float32, False, True)
        else:
            to_maps, to_weights, _ = gradients(torch.float32, True, True)
        return to_maps.to(maps.dtype), to_weights.to(weights.dtype), None, None


class Depthwise(nn.Conv2d):
    """A depthwise convolution without bias; the same layer but for how a CPU trains it."""

    def forward(self, maps: Tensor) -> Tensor:
        if not (self.training and maps.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(maps)
        maps, weights = maps.bfloat16(), self.weight.bfloat16()
        return Convolve.apply(maps, weights, self.stride, self.padding)


def hasten(model: nn.Module) -> None:
    """Make its depthwise convolutions without bias `Depthwise`, in place; weights stay as named."""
    for layer in model.modules():
        if type(layer) is not nn.Conv2d or layer.bias is not None:
            continue
        if layer.groups == layer.in_channels == layer.out_channels > 1:
            layer.__class__ = Depthwise
