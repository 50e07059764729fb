"""Small detectors of each kind with random weights, saved as their frameworks save them."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from transformers import (
    ConditionalDetrConfig,
    ConditionalDetrForObjectDetection,
    ConditionalDetrImageProcessor,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    ResNetConfig,
)
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load

from training.detector import lite

torch.set_num_threads(1)  # of networks of a few channels they only wait for each other

CLASSES = ("signature", "stamp")
RTDETR = {
    "backbone": [[-1, 1, "Conv", [16, 3, 4]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Conv", [16, 3, 2]],
        # classes, width, queries, points, heads, layers, inner width
        [[1, 2, 3], 1, "RTDETRDecoder", ["nc", 32, 20, 2, 2, 2, 64]],
    ],
}
DETR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 12,
    "id2label": dict(enumerate(CLASSES)),
    "label2id": {name: i for i, name in enumerate(CLASSES)},
}
SIZES = {  # DETR: what the processor config says
    "conditional": {"size": {"shortest_edge": 128, "longest_edge": 160}},
    "padded": {
        "size": {"max_height": 160, "max_width": 128},
        "pad_size": {"height": 160, "width": 128},
    },
    "detr": {"size": {"height": 160, "width": 128}},
}


def spread(layer: nn.Module, factor: float = 0.3) -> None:
    """Gives a layer of scores (logits) random weights and no bias: scores about one half.

    The second class is surer where the first is not.
    """
    layer.weight.data = factor * torch.randn_like(layer.weight)
    layer.weight.data[1:2] = -layer.weight.data[:1]
    nn.init.zeros_(layer.bias)


def calibrate(model: nn.Module, scorers: list[nn.Module], mean: float) -> None:
    """Gives each class logits of `mean` ± 1 on noise, in those layers that are used."""
    logits = {}
    for layer in scorers:
        layer.register_forward_hook(lambda layer, _, out: logits.__setitem__(layer, out))
    noise = nn.functional.interpolate(torch.rand(1, 3, 16, 16), (128, 128), mode="bicubic")
    with torch.no_grad():
        model.eval()(noise)
    for layer in scorers:
        layer._forward_hooks.clear()
    for layer, out in logits.items():
        rows = (out.movedim(1, -1) if out.ndim == 4 else out).flatten(0, -2)
        deviation = rows.std(0)
        layer.weight.data /= deviation.view(-1, *[1] * (layer.weight.ndim - 1))
        layer.bias.data = mean - rows.mean(0) / deviation


def save_ultralytics(path: Path, kind: str, names=CLASSES, **training) -> Path:
    """A checkpoint of `kind`: the name of an ultralytics yaml, or rtdetr.

    `training` is what it says of that: imgsz, 128 px without, and fit.
    """
    torch.manual_seed(0)
    if kind == "rtdetr":
        model = RTDETRDetectionModel(RTDETR | {"nc": len(names)}, verbose=False)
        head = model.model[-1]
        scorers = [head.enc_score_head, *head.dec_score_head]
        boxes = [mlp.layers[-1] for mlp in (head.enc_bbox_head, *head.dec_bbox_head)]
        for layer in boxes:
            spread(layer, 0.1)
    else:
        config = yaml_model_load(f"{kind}.yaml")
        width = 0.25 if kind == "yolo12n" else 0.0625  # its blocks come in 32 channels
        scales = {key: [0.34, width, 1024] for key in config["scales"]}
        model = DetectionModel(config | {"scales": scales}, nc=len(names), verbose=False)
        head = model.model[-1]
        branches = getattr(head, "one2one_cv3", None) or head.cv3
        scorers = [branch[-1] for branch in branches]
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.weight, 2.5)  # else values die away in the layers
    for layer in scorers:
        spread(layer)
    # low where a head chooses 300 boxes: it would cut among as likely ones
    calibrate(model, scorers, -3 if hasattr(head, "one2one_cv3") else -1)
    model.names = dict(enumerate(names))
    torch.save({"model": model, "train_args": {"imgsz": 128} | training}, path)
    return path


def save_lite(path: Path) -> Path:
    """A checkpoint of document_lite for pages stretched to 160 x 128."""
    torch.manual_seed(0)
    model = lite.build(None)
    scorers = [head.logits for head in model.heads]
    for layer in scorers:
        spread(layer)
    calibrate(model, scorers, -1.2)  # classes that are as likely score less than is asked for
    model.args = {"imgsz": [160, 128], "fit": "stretch"}
    torch.save(lite.checkpoint(model), path)
    return path


def save_transformers(folder: Path, kind: str) -> Path:
    """A folder of DETR or Conditional DETR; `kind` is a key of SIZES."""
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    if kind == "detr":
        model = DetrForObjectDetection(DetrConfig(backbone_config=backbone, **DETR))
        processor = DetrImageProcessor(**SIZES[kind], do_pad=False)
    else:
        config = ConditionalDetrConfig(backbone_config=backbone, **DETR)
        model = ConditionalDetrForObjectDetection(config)
        processor = ConditionalDetrImageProcessor(**SIZES[kind])
    spread(model.class_labels_classifier)
    spread(model.bbox_predictor.layers[-1])
    nn.init.normal_(model.model.query_position_embeddings.weight)  # so that queries differ
    if kind == "detr":  # whose classes take from each other
        calibrate(model, [model.class_labels_classifier], 0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_onnx(
    path: Path, kind: str, height: int = 128, width: int = 128, **properties: str
) -> Path:
    """The graph of a checkpoint as ultralytics' own export writes it, with `properties`."""
    checkpoint = save_ultralytics(path.with_suffix(".pt"), kind)
    model = torch.load(checkpoint, weights_only=False)["model"]
    head = model.model[-1]
    head.end2end = "end2end" in properties
    model.fuse(verbose=False).eval()
    head.export, head.format, head.dynamic = True, "onnx", False
    example = torch.zeros(1, 3, height, width)
    with torch.no_grad():
        model(example)
        torch.onnx.export(
            model, (example,), path, dynamo=False, input_names=["images"], output_names=["output0"]
        )
    graph = onnx.load(path)
    known = {"task": "detect", "names": str(model.names), "imgsz": str([height, width])}
    onnx.helper.set_model_props(graph, known | properties)
    onnx.save(graph, path)
    return path


@pytest.fixture(scope="session")
def saved() -> Callable[..., Path]:
    """`saved(path, kind)` writes a detector of that kind there."""

    def save(path: Path, kind: str, **settings) -> Path:
        if kind in SIZES:
            return save_transformers(path, kind)
        if path.suffix == ".onnx":
            return save_onnx(path, kind, **settings)
        if kind == "lite":
            return save_lite(path)
        return save_ultralytics(path, kind, **settings)

    return save
