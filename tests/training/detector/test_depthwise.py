"""Gradients of `Depthwise` against those that torch finds in float32."""

import pytest
import torch
from torch import nn

from training.detector.depthwise import Depthwise, hasten


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_are_those_of_float32(stride, kernel):
    torch.manual_seed(0)
    plain = nn.Conv2d(12, 12, kernel, stride, kernel // 2, groups=12, bias=False)
    maps = torch.rand(2, 12, 16, 24, requires_grad=True)
    slope = torch.rand(plain(maps).shape)
    (plain(maps) * slope).sum().backward()
    expected = [maps.grad, plain.weight.grad]

    maps.grad = plain.weight.grad = None
    quick = nn.Sequential(plain).train()
    hasten(quick)
    assert type(quick[0]) is Depthwise
    with torch.autocast("cpu", torch.bfloat16):
        out = quick(maps)
    assert out.dtype == torch.bfloat16
    (out.float() * slope).sum().backward()
    for found, truth in zip([maps.grad, plain.weight.grad], expected, strict=True):
        assert found.dtype == torch.float32
        assert (found - truth).abs().max() < 0.02 * truth.abs().max()  # bfloat16 has 8 bits


def test_other_convolutions_stay_as_they_are():
    layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 8, 3, groups=4, bias=False))
    hasten(layers)
    assert {type(layer) for layer in layers} == {nn.Conv2d}
    maps = torch.rand(1, 12, 8, 8)
    depthwise = nn.Sequential(nn.Conv2d(12, 12, 3, groups=12, bias=False))
    truth = depthwise(maps)
    hasten(depthwise)
    assert torch.equal(depthwise.eval()(maps), truth)
