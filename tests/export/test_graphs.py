"""Graphs that servers with an older OpenVINO can read."""

import numpy as np
import openvino as ov
import pytest
import torch

from export.graphs import convert, opset


def exported(tmp_path, module, size):
    torch.onnx.export(
        module, (torch.rand(size),), tmp_path / "x.onnx", dynamo=False, output_names=["y"]
    )
    return convert(tmp_path / "x.onnx")


@pytest.mark.parametrize("ceil", [True, False])
def test_an_average_pool_is_that_of_opset_1_and_averages_alike(tmp_path, ceil):
    pool = torch.nn.AvgPool2d(2, 2, ceil_mode=ceil, count_include_pad=False)
    graph = exported(tmp_path, pool, (1, 3, 25, 7))  # odd sizes: the last window is cut
    assert {opset(op) for op in graph.get_ops() if op.get_type_name() == "AvgPool"} == {1}
    x = torch.rand(1, 3, 25, 7)
    served = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    np.testing.assert_allclose(served, pool(x), atol=1e-6)


def test_a_padded_average_pool_is_refused(tmp_path):
    with pytest.raises(ValueError, match="average pool with padding"):
        exported(
            tmp_path,
            torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
            (1, 3, 25, 7),
        )


def test_an_operation_without_an_older_form_is_refused_by_name(tmp_path):
    onnx = tmp_path / "x.onnx"
    col2im = torch.nn.Fold((4, 4), (2, 2))  # Col2Im is of opset 15
    torch.onnx.export(col2im, (torch.rand(1, 8, 9),), onnx, dynamo=False, opset_version=18)
    with pytest.raises(ValueError, match=r"Col2Im is of opset 15, limit 14"):
        convert(onnx)


class Put(torch.nn.Module):
    """Sets the first and last row to 7."""

    def forward(self, x):
        x = x.clone()
        x[torch.tensor([0, 3])] = 7
        return x


def test_an_update_of_places_is_that_of_opset_4_and_puts_alike(tmp_path):
    graph = exported(tmp_path, Put(), (4, 3))
    updates = [op for op in graph.get_ops() if op.get_type_name() == "ScatterNDUpdate"]
    assert {opset(op) for op in updates} == {4}
    x = torch.rand(4, 3)
    served = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    np.testing.assert_array_equal(served, Put()(x))
