import json
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.tasks import load_checkpoint

from inprocess.steps import fit as fits
from training.detector import lite
from training.detector import recipe as chain
from training.detector import train as trainer
from training.detector.data import Views, kind_shares, read
from training.detector.train import (
    Recipe,
    begin,
    learn,
    mean_share,
    rate,
    read_progress,
    save,
    train,
    update_mean,
)
from training.detector.yolo import fix_norm

YOLO = Path("training/detector/yolo11n.pt")
LITE = YOLO.with_name("shipped.pt")
TINY = Recipe(
    height=64, width=64, views=8, batch=2, warmup=2, generated=0, zoom=0, minutes=60, loaders=0
)


@pytest.fixture(scope="module")
def views_of(marked, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def make(recipe):
        fit = fits.Fit(recipe.width, recipe.height, recipe.fit)
        data = read([marked], [], cache, fit, 0.0, 0)
        shares = kind_shares(data.training, 0, 0)
        return Views(data.training, shares, [], fit, recipe.zoom, recipe.views, recipe.seed)

    return make


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_four_pages_are_learnt_by_heart(tmp_path, four_pages):
    recipe = replace(TINY, height=192, width=160, views=160, batch=4, lr=1e-3, warmup=20, decay=0.5)
    figures = train(recipe, [four_pages], [], tmp_path / "run", YOLO)
    assert figures["all: signature"] > 0.95
    assert figures["all: stamp"] > 0.95


@pytest.mark.parametrize("start", [YOLO, LITE], ids=lambda file: file.stem)
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    views_of, tmp_path, start
):
    views = views_of(TINY)
    whole = begin(TINY, start, views, tmp_path / "none")
    for _ in learn(whole, views, TINY):
        pass

    first = begin(TINY, start, views, tmp_path / "none")
    for _ in islice(learn(first, views, TINY), 2):
        pass
    save(first, TINY, tmp_path)
    second = begin(TINY, start, views, tmp_path / "state.pt")
    assert second.views == 4
    for _ in learn(second, views, TINY):
        pass
    for kind in ("model", "mean"):
        expected = getattr(whole, kind).state_dict()
        for name, value in getattr(second, kind).state_dict().items():
            assert torch.equal(value, expected[name]), (kind, name)


def test_the_mean_is_what_is_kept_and_it_is_kept_when_a_run_goes_on(views_of, tmp_path):
    state = begin(TINY, YOLO, views_of(TINY), tmp_path / "none")
    for tensor in state.mean.state_dict().values():
        tensor.fill_(0.5)
    save(state, TINY, tmp_path)
    for tensor in load_checkpoint(tmp_path / "last.pt")[0].state_dict().values():
        assert (tensor == (0.5 if tensor.is_floating_point() else 0)).all()
    resumed = begin(TINY, YOLO, views_of(TINY), tmp_path / "state.pt")
    assert all((t == t.new_tensor(0.5)).all() for t in resumed.mean.state_dict().values())


def test_the_mean_moves_by_its_share():
    mean, model = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    mean.load_state_dict({"weight": torch.zeros(1, 2), "bias": torch.ones(1)})
    model.load_state_dict({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.ones(1)})
    update_mean(mean, model, share=0.75)
    assert mean.weight.tolist() == [[0.25, 0.5]]
    assert mean.bias.tolist() == [1.0]


def test_a_young_mean_forgets_and_the_last_one_remembers_longest():
    recipe = Recipe(views=1_000_000, batch=10, decay=0.2)
    assert mean_share(recipe, 10, 0.0) == pytest.approx(2 / 11)
    assert mean_share(recipe, 500_000, 0.5) == 0.999
    assert mean_share(recipe, 900_000, 0.9) == 0.9998


def test_the_rate_rises_stays_and_falls():
    recipe = Recipe(batch=10, lr=1.0, warmup=100, decay=0.2, final_lr=0.01)
    assert rate(recipe, 0, 0.0) == pytest.approx(0.1)
    assert rate(recipe, 40, 0.04) == pytest.approx(0.5)
    assert rate(recipe, 90, 0.09) == rate(recipe, 700, 0.7) == 1.0
    assert rate(recipe, 900, 0.9) == pytest.approx(0.505)
    assert rate(recipe, 1000, 1.0) == pytest.approx(0.01)
    assert rate(replace(recipe, decay=0.0), 999, 0.999) == 1.0


def test_a_run_within_some_time_ends_in_it_at_the_last_rate(views_of, tmp_path):
    recipe = replace(TINY, views=1_000_000, lr=1e-4, decay=1.0)
    state = begin(recipe, YOLO, views_of(recipe), tmp_path / "none")
    rates = []
    begun = time.monotonic()
    for _ in learn(state, views_of(recipe), recipe, seconds=2.0):
        rates.append(state.optimizer.param_groups[0]["lr"])
    assert time.monotonic() - begun < 10
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < rates[1]
    assert state.views == 2 * len(rates)


def test_decay_leaves_norms_and_biases_alone(views_of, tmp_path):
    state = begin(TINY, YOLO, views_of(TINY), tmp_path / "none")
    decayed, undecayed = state.optimizer.param_groups
    assert {p.ndim for p in decayed["params"]} == {4}
    assert {p.ndim for p in undecayed["params"]} == {1}
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.02, 0.0)


def test_a_loss_that_is_not_finite_stops_the_run_before_its_update(views_of, tmp_path):
    state = begin(TINY, YOLO, views_of(TINY), tmp_path / "none")
    next(iter(state.model.parameters())).data.fill_(float("nan"))
    before = weights(state.model.model[-1])
    with pytest.raises(FloatingPointError, match="view 0: loss nan"):
        next(learn(state, views_of(TINY), TINY))
    head = state.model.model[-1].state_dict()
    assert all(torch.equal(head[name], before[name]) for name in before if "running" not in name
               and "num_batches" not in name)  # fmt: skip


def test_fixed_statistics_are_used_and_stay_while_the_weights_learn():
    torch.manual_seed(0)
    model = torch.nn.Sequential(Conv(3, 8, 3, 2), DWConv(8, 8, 3), Conv(8, 4, act=False))
    for layer in model:
        for tensor in layer.bn.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 2)
    x = torch.rand(2, 3, 16, 16)
    expected = model.eval()(x).detach()
    before = weights(model)

    fix_norm(model)
    outputs = model.train()(x)
    torch.testing.assert_close(outputs, expected)
    outputs.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_measured_statistics_are_those_of_the_views(views_of, tmp_path):
    """The first convolution's outputs, normalised by them, have mean 0 and variance 1."""
    recipe = replace(TINY, fixed_norm=True)
    views = views_of(recipe)
    model = begin(recipe, YOLO, views, tmp_path / "none").mean
    pixels = torch.from_numpy(np.stack([views[n].pixels for n in range(8)])).permute(0, 3, 1, 2)
    first = model.model[0]
    maps = first.conv(pixels.float() / 255)
    torch.testing.assert_close(first.bn.running_mean, maps.mean((0, 2, 3)), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("model", ["yolov8n.yaml", "yolo26n.yaml", "yolov8n-rtdetr.yaml"])
def test_any_kind_of_model_is_trained_and_started_from(marked, tmp_path, model):
    recipe = replace(TINY, model=model, views=4)
    train(recipe, [marked], [], tmp_path / "first", None, tmp_path / "cache")
    figures = train(
        replace(TINY, views=2), [marked], [], tmp_path / "second", tmp_path / "first" / "last.pt",
        tmp_path / "cache",
    )  # fmt: skip
    assert {"all: signature", "all: stamp"} <= figures.keys()
    first, second = (load_checkpoint(tmp_path / run / "last.pt")[0] for run in ("first", "second"))
    assert type(first.model[-1]) is type(second.model[-1])
    assert first.args["imgsz"] == [64, 64]
    assert cv2.imread(str(tmp_path / "second" / "curves.png")) is not None
    (line,) = read_progress(tmp_path / "second")
    assert line["views"] == 2
    assert any(name.startswith("loss: ") and value > 0 for name, value in line.items())
    settings = json.loads((tmp_path / "second" / "recipe.json").read_text())
    assert settings["start"]["model"] == model
    assert (settings["views_done"], settings["start"]["views_done"]) == (2, 4)


def test_of_a_checkpoint_with_other_classes_all_but_the_head_is_taken(tmp_path):
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(1)
    other = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    other.names = {0: "stamp", 1: "logo", 2: "signature"}
    torch.save({"model": other, "train_args": {}}, tmp_path / "other.pt")
    model = trainer.build(TINY, tmp_path / "other.pt")
    assert list(model.names.values()) == ["signature", "stamp"]
    assert torch.equal(model.model[0].conv.weight, other.model[0].conv.weight)
    ours, theirs = model.model[-1].cv3[0][-1].weight, other.model[-1].cv3[0][-1].weight
    assert ours.shape[0] == 2
    assert torch.equal(ours, theirs[[2, 0]])


def test_another_recipe_in_the_same_folder_is_refused(marked, tmp_path):
    run = (TINY, [marked], [], tmp_path / "run", YOLO, tmp_path / "cache")
    train(*run, minutes=1e-9)
    train(replace(TINY, minutes=1), *run[1:], minutes=1e-9)
    with pytest.raises(ValueError, match="another lr, seed"):
        train(replace(TINY, lr=1.0, seed=3), *run[1:])


def test_nothing_to_train_on_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to train on in no folder"):
        train(TINY, [], [], tmp_path, YOLO)


def test_a_start_that_is_none_is_refused_before_anything_is_made(tmp_path, marked):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt: no such file to start from"):
        train(TINY, [marked], [], tmp_path / "run", tmp_path / "gone.pt")
    assert not (tmp_path / "run").exists()
    (tmp_path / "notes.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"notes\.pt: 10 bytes, no checkpoint"):
        train(TINY, [marked], [], tmp_path / "run", tmp_path / "notes.pt")


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"fit": "foo"}, "fit 'foo', known are letterbox, stretch, upright"),
        ({"views": 0}, "views 0, limit at least 1"),
        ({"batch": -1}, "batch -1, limit at least 1"),
        ({"held_out": 1.5}, "held_out 1.5, limit 0 to 1"),
        ({"generated": float("nan")}, "generated nan, limit 0 to 1"),
    ],
)
def test_a_recipe_that_no_run_can_have_is_refused(values, error):
    with pytest.raises(ValueError, match=error):
        Recipe(**values)


def test_fine_tuning_on_thirty_pages_mixes_generated_ones_in(tmp_path, draw_marks, monkeypatch):
    draw_marks(tmp_path / "mine", 30, split="")
    command = f"train --real {tmp_path}/mine --start {YOLO} --out {tmp_path}/run"
    small = " --height 160 --width 128 --views 32 --batch 4 --drawn 4 --loaders 0"
    monkeypatch.setattr("sys.argv", (command + small).split())
    trainer.main()
    assert len(list((tmp_path / "run" / "generated_0_4").rglob("*.jpg"))) == 4
    (line,) = read_progress(tmp_path / "run")
    assert line["views"] == 32
    assert {"all: signature", "mine: stamp"} <= line.keys()


def test_the_runs_of_a_recipe_follow_each_other(marked, tmp_path):
    file = tmp_path / "recipe.yaml"
    small = {"height": 64, "width": 64, "batch": 2, "loaders": 0, "drawn": 1}
    runs = [{"name": "a", "views": 2, **small}, {"name": "b", "views": 2, **small}]
    file.write_text(yaml.dump({"start": str(YOLO), "runs": runs}))
    assert chain.run(file, [marked], tmp_path / "runs") == tmp_path / "runs" / "b" / "last.pt"
    settings = json.loads((tmp_path / "runs" / "b" / "recipe.json").read_text())
    assert settings["start"]["start"] == "yolo11n.pt"
    assert settings["start"]["views"] == 2

    runs[0]["momentum"] = 0.9
    file.write_text(yaml.dump({"runs": runs}))
    with pytest.raises(ValueError, match="run a has momentum, which no run has"):
        chain.read_recipe(file)


def test_a_run_of_two_seeds_ends_with_the_mean_of_their_weights(marked, tmp_path):
    file, runs = tmp_path / "recipe.yaml", tmp_path / "runs"
    small = {"height": 64, "width": 64, "batch": 2, "loaders": 0, "drawn": 1}
    file.write_text(yaml.dump({"runs": [{"name": "a", "views": 2, "seeds": 2, **small}]}))
    assert chain.run(file, [marked], runs) == runs / "a" / "last.pt"
    first, second, mean = (
        lite.read(runs / name / "last.pt").state_dict() for name in ("a_0", "a_1", "a")
    )
    assert any(not torch.equal(first[name], second[name]) for name in mean)
    for name, tensor in mean.items():
        if tensor.is_floating_point():
            expected = (first[name] + second[name]) / 2
            torch.testing.assert_close(tensor, expected, rtol=2e-3, atol=2e-3)  # in half precision
    assert chain.run(file, [marked], runs) == runs / "a" / "last.pt"  # again: nothing is left to do

    file.write_text(yaml.dump({"runs": [{"name": "a", "views": 2, "seeds": 0}]}))
    with pytest.raises(ValueError, match="run a has seeds 0, at least 1"):
        chain.read_recipe(file)


def test_the_recipe_of_the_shipped_weights_is_read():
    start, runs = chain.read_recipe(Path("training/detector/recipe.yaml"))
    assert start is None
    assert list(runs) == ["first", "more", "small", "large", "gpu"]
    assert (runs["large"].seeds, runs["large"].recipe.height) == (2, 704)
