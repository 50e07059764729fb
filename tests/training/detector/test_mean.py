import json

import cv2
import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from export.checkpoints import load
from export.detector import run_of
from training.detector.mean import write


def checkpoint(run, model, recipe):
    (run / "weights").mkdir(parents=True)
    (run / "recipe.json").write_text(json.dumps(recipe))
    path = run / "weights" / "last.pt"
    torch.save({"model": model, "train_args": {"imgsz": 64}, "epoch": 3}, path)
    return path


def of_one_value(value, architecture="yolo11n.yaml"):
    model = DetectionModel(architecture, nc=2, verbose=False)
    for tensor in model.state_dict().values():
        tensor.fill_(value)
    return model


def test_weights_and_statistics_are_the_mean_and_its_makers_are_named(tmp_path):
    first = checkpoint(tmp_path / "a", of_one_value(1), {"seed": 1})
    second = checkpoint(tmp_path / "b", of_one_value(4), {"seed": 2, "weights": {"seed": 1}})
    write([first, second, second], tmp_path / "mean")
    made = torch.load(tmp_path / "mean" / "weights" / "last.pt", weights_only=False)["model"]
    state = made.state_dict()
    assert all((value == 3).all() for value in state.values() if value.is_floating_point())
    assert state["model.0.bn.num_batches_tracked"] == 1
    assert load(tmp_path / "mean" / "weights" / "last.pt").fit.width == 64
    assert run_of(tmp_path / "mean" / "weights" / "last.pt") == {
        "command": "python -m training.detector.mean",
        "recipe": {"mean_of": [{"seed": 1}, *[{"seed": 2, "weights": {"seed": 1}}] * 2]},
    }


def test_statistics_are_measured_on_images(tmp_path):
    """Two flat images: the stem's mean is that of its convolution, its variance that over them."""
    torch.manual_seed(0)
    first, second = (
        checkpoint(tmp_path / name, DetectionModel("yolo11n.yaml", nc=2, verbose=False), {})
        for name in "ab"
    )
    shades = (60, 180)
    for shade in shades:
        cv2.imwrite(str(tmp_path / f"{shade}.jpg"), np.full((64, 64, 3), shade, np.uint8))
    write([first, second], tmp_path / "mean", [tmp_path])
    made = torch.load(tmp_path / "mean" / "weights" / "last.pt", weights_only=False)["model"]
    stem = made.float().model[0]
    flat = torch.stack([torch.full((3, 64, 64), shade / 255) for shade in shades])
    with torch.no_grad():
        responses = stem.conv(flat).transpose(0, 1).flatten(1)
    torch.testing.assert_close(stem.bn.running_mean, responses.mean(1), atol=2e-3, rtol=0)
    torch.testing.assert_close(stem.bn.running_var, responses.var(1), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match=r"weights: no \*\.jpg"):
        write([first], tmp_path / "mean", [tmp_path / "mean" / "weights"])


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.pt: no checkpoint"):
        write([tmp_path / "gone.pt"], tmp_path / "mean")


def test_other_architectures_are_refused(tmp_path):
    paths = [
        checkpoint(tmp_path / name, DetectionModel(f"{name}.yaml", nc=2, verbose=False), {})
        for name in ("yolo11n", "yolo11s")
    ]
    with pytest.raises(ValueError, match=r"checkpoint 2: model\.\S+ \(.*\) is not in both"):
        write(paths, tmp_path / "mean")
