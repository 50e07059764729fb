import sys

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from export.checkpoints import load
from export.detector import run_of
from training.detector import widen


@pytest.fixture(scope="module")
def narrow():
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    model.names = {0: "signature", 1: "stamp"}
    for name, value in model.state_dict().items():
        if name.endswith((".bias", ".running_mean")):
            value += torch.randn_like(value) / 10
        elif name.endswith("running_var"):
            value *= torch.rand_like(value) + 0.5
    return model.eval()


def checkpoint(folder, model):
    path = folder / "narrow.pt"
    torch.save({"model": model, "train_args": {"imgsz": 64}, "epoch": 3}, path)
    return path


def test_twice_the_channels_compute_the_same(narrow):
    wide = widen.widen(narrow, "yolo11s.yaml").eval()
    pages = torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        expected, found = narrow(pages)[0], wide(pages)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert expected.std() > 1  # and not a constant
    assert wide.names == {0: "signature", 1: "stamp"}


def test_copies_are_read_unevenly_so_that_they_part(narrow):
    model = widen.widen(narrow, "yolo11s.yaml").train()
    model(torch.rand(2, 3, 64, 64))["boxes"].square().mean().backward()
    first, second = model.model[0].conv.weight.grad.view(16, 2, -1).unbind(1)
    assert not torch.allclose(first, second, rtol=0.1)


def test_command_writes_a_finished_run(tmp_path, narrow, monkeypatch):
    path = checkpoint(tmp_path, narrow)
    monkeypatch.setattr(sys, "argv", ["widen", str(path), "--out", str(tmp_path / "wide")])
    widen.main()
    made = load(tmp_path / "wide" / "weights" / "last.pt")
    assert made.classes == ("signature", "stamp")
    assert made.fit.side == 64
    assert run_of(tmp_path / "wide" / "weights" / "last.pt") == {
        "command": "python -m training.detector.widen",
        "recipe": {"model": "yolo11s.yaml", "widened": "narrow.pt"},
    }


def test_more_than_twice_is_refused(narrow):
    with pytest.raises(ValueError, match=r"yolo11m\.yaml: model\.\S+ is not in both"):
        widen.widen(narrow, "yolo11m.yaml")
    with pytest.raises(ValueError, match=r"model\.\S+: 64 channels, neither 16 nor 32"):
        widen.widen(narrow, "yolo11x.yaml")
