import csv
import json
from dataclasses import asdict, replace

import pytest
import torch
import torch.distributed as dist
from ultralytics.nn.modules.conv import Conv, DWConv

from training.detector.pages.splits import write_splits
from training.detector.train import (
    DocumentTrainer,
    Recipe,
    _drop_channels,
    _float,
    average_weights,
    data_files,
    fix_norm,
    overrides,
    resume,
    train,
)

TINY = Recipe(imgsz=64, epochs=1, batch=2, workers=0, mosaic=0.0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_splits(folder, seed=0, counts={"train": 6, "validation": 2})
    return folder


def test_every_process_gets_its_own_pages(pages, tmp_path):
    files = data_files([pages], [], tmp_path, Recipe(processes=2))
    first, second = ((tmp_path / f"train_{i}.txt").read_text().split() for i in range(2))
    assert len(files) == 2
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


def test_no_pages_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="images/train"):
        data_files([tmp_path], [], tmp_path, Recipe())


def test_own_pages_alone_are_enough(pages, tmp_path):
    """The generated folder stands in for a user's: it is in the YOLO layout too."""
    files = data_files([], [pages], tmp_path, Recipe(real_holdout=2, real_copies=0))
    kept, held = ((tmp_path / name).read_text().split() for name in ("train_0.txt", "val.txt"))
    assert len(files) == 1
    assert (len(kept), len(held)) == (6, 2)


def test_nothing_to_train_on_is_an_error(pages, tmp_path):
    with pytest.raises(ValueError, match="give --pages, --real or both"):
        data_files([], [], tmp_path, Recipe())
    with pytest.raises(ValueError, match="8 pages, none left with real_holdout 20"):
        data_files([], [pages], tmp_path, Recipe())


def test_weights_are_averaged_over_processes(monkeypatch):
    """Two processes, the other one holding weights that are 2 larger: the mean is 1 more."""
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.bias.fill_(-1.0)
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.mul_(2).add_(2))
    average_weights(model, processes=2)
    assert model.weight.tolist() == [[4.0, 4.0]]
    assert model.bias.tolist() == [0.0]


def test_fixed_statistics_are_used_and_stay_while_the_weights_learn():
    torch.manual_seed(0)
    model = torch.nn.Sequential(Conv(3, 8, 3, 2), DWConv(8, 8, 3), Conv(8, 4, act=False))
    for layer in model:
        for tensor in layer.bn.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 2)
    x = torch.rand(2, 3, 16, 16)
    expected = model.eval()(x).detach()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    fix_norm(model)
    outputs = model.train()(x)
    torch.testing.assert_close(outputs, expected)
    outputs.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_nested_outputs_become_float32():
    half = torch.ones(1, dtype=torch.bfloat16)
    outputs = _float({"boxes": half, "features": [half, (half, torch.arange(3), "name")]})
    assert outputs["boxes"].dtype == torch.float32
    assert outputs["features"][1][0].dtype == torch.float32
    assert outputs["features"][1][1].dtype == torch.int64  # numbers of boxes stay numbers
    assert outputs["features"][1][2] == "name"


def test_dropout_takes_whole_channels_from_the_head_and_only_in_training():
    head = torch.nn.Identity()
    features = [torch.ones(1, 1000, 2, 2), torch.ones(1, 1000, 1, 1)]
    dropped, batch = _drop_channels(0.25, head.train(), (features, "batch"))
    for level in dropped:
        seen = level.amax(dim=(2, 3))
        assert torch.equal(seen, level.amin(dim=(2, 3)))
        assert seen.unique().tolist() == pytest.approx([0, 4 / 3])
        assert (seen == 0).float().mean() == pytest.approx(0.25, abs=0.06)
    kept, _ = _drop_channels(0.25, head.eval(), (features, batch))
    assert torch.equal(kept[0], features[0])


@pytest.mark.parametrize(
    ("model", "losses"),
    [
        ("yolov8n.yaml", {"box_loss", "cls_loss", "dfl_loss"}),
        ("yolo26n.yaml", {"box_loss", "cls_loss", "l1_loss"}),
        ("yolov8n-rtdetr.yaml", {"giou_loss", "cls_loss", "l1_loss"}),
    ],
)
def test_any_kind_of_model_is_trained_and_started_from(pages, tmp_path, model, losses):
    recipe = replace(TINY, model=model, dropout=0.2)
    train(recipe, [pages], [], tmp_path / "first", weights=None)
    checkpoint = tmp_path / "first" / "weights" / "last.pt"
    train(TINY, [pages], [], tmp_path / "second", weights=checkpoint)  # TINY's model is another

    for run in ("first", "second"):
        (row,) = rows(tmp_path / run)
        trained = {name: float(row[f"train/{name}"]) for name in losses}
        assert all(0 <= loss < 100 for loss in trained.values())
        assert trained["cls_loss"] > 0
        for name in ("weights/last.pt", "results.png"):
            assert (tmp_path / run / name).stat().st_size > 0
    first, second = (
        json.loads((tmp_path / run / "recipe.json").read_text()) for run in ("first", "second")
    )
    assert (first["model"], first["imgsz"], first["weights"]) == (model, 64, "")
    assert (second["model"], second["weights"]) == (model, first)


def rows(run):
    with (run / "results.csv").open() as table:
        return list(csv.DictReader(table))


# the cosine from 2e-3 to a hundredth of it, a sixth and a third of an epoch before its end
@pytest.mark.parametrize(("processes", "last_rate"), [(1, 3.504e-5), (2, 7.970e-5)])
def test_an_interrupted_run_goes_on_in_as_many_processes(pages, tmp_path, processes, last_rate):
    out = tmp_path / "run"
    out.mkdir()
    recipe = replace(TINY, epochs=3, batch=1, processes=processes, sync_every=1)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe)))
    interrupted = DocumentTrainer(
        overrides=overrides(recipe, data_files([pages], [], out, recipe)[0], out)
    )

    def interrupt(trainer):
        raise KeyboardInterrupt

    interrupted.add_callback("on_model_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()

    resume(out)
    assert [row["epoch"] for row in rows(out)] == ["1", "2", "3"]
    assert float(rows(out)[-1]["lr/pg0"]) == pytest.approx(last_rate, rel=1e-3)
    if processes == 2:
        assert [row["epoch"] for row in rows(tmp_path / "run_1")] == ["2", "3"]
    with pytest.raises(ValueError, match="the run is finished"):
        resume(out)


def test_no_run_to_resume_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights/last\.pt"):
        resume(tmp_path)


def test_hours_in_several_processes_are_refused(pages, tmp_path):
    with pytest.raises(ValueError, match=r"hours 0\.5: 2 processes"):
        train(Recipe(hours=0.5, processes=2), [pages], [], tmp_path, weights=None)
