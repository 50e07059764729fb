from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.detector.batches import batch_of
from training.detector.data import background
from training.detector.loss import in_float32, loss_of
from training.detector.train import Recipe, build

GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}


def test_an_anchor_in_an_area_to_ignore_is_no_background():
    mask = background(batch_of([], np.array([[0, 0, 33, 17]], np.float32)), [8, 16, 32])
    assert mask.shape == (1, 8 * 12 + 4 * 6 + 2 * 3, 2)
    outside = mask[0, :, 0]
    fine = outside[:96].reshape(12, 8)
    assert (~fine).nonzero().tolist() == [[r, c] for r in range(2) for c in range(4)]
    assert outside[96:120].reshape(6, 4).tolist()[0] == [False, False, True, True]
    assert outside[120:].reshape(3, 2).tolist()[0] == [False, True]  # its middle is at 16, 16


def test_a_class_that_is_not_labelled_has_no_background():
    mask = background(batch_of([], labelled=(True, False)), [8])
    assert mask[..., 0].all()
    assert not mask[..., 1].any()


@pytest.fixture(scope="module")
def model():
    return build(Recipe(), Path("training/detector/yolo11n.pt")).train()


def head_gradients(model, batch):
    """Of the last convolution's bias of each level's class branch: (levels, C)."""
    model.zero_grad()
    loss_of(model, GAINS)(batch, 0.0)[0].backward()
    return torch.stack([level[-1].bias.grad for level in model.model[-1].cv3])


def test_a_masked_class_gets_no_gradient(model):
    some = head_gradients(model, batch_of([[0, 0.5, 0.5, 0.4, 0.3]], labelled=(True, False)))
    assert (some[:, 0] != 0).all()
    assert (some[:, 1] == 0).all()


def test_what_is_boxed_counts_even_where_the_class_is_not_labelled(model):
    stamp = [[1, 0.5, 0.5, 0.4, 0.3]]
    some = head_gradients(model, batch_of(stamp, labelled=(True, False)))
    assert some[:, 1].sum() < 0  # only upwards
    everywhere = np.array([[0, 0, 64, 96]], np.float32)
    assert head_gradients(model, batch_of(stamp, everywhere))[:, 1].sum() < 0


def test_a_page_to_ignore_as_a_whole_teaches_nothing(model):
    everywhere = np.array([[0, 0, 64, 96]], np.float32)
    assert (head_gradients(model, batch_of([], everywhere)) == 0).all()


def test_nested_outputs_become_float32():
    half = torch.ones(1, dtype=torch.bfloat16)
    outputs = in_float32({"boxes": half, "features": [half, (half, torch.arange(3), "name")]})
    assert outputs["boxes"].dtype == torch.float32
    assert outputs["features"][1][0].dtype == torch.float32
    assert outputs["features"][1][1].dtype == torch.int64  # numbers of boxes stay numbers
    assert outputs["features"][1][2] == "name"
