import dataclasses
import json
import math
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from training.captcha import train as module
from training.captcha.generate import sample
from training.captcha.images import Images
from training.captcha.model import Columns, load
from training.captcha.train import (
    TrainConfig,
    averaged,
    digit_loss,
    logits_of,
    mixed,
    scores,
    shuffled,
    sure_answers,
    train,
    train_one_epoch,
)

TINY = TrainConfig("test_resnet", epochs=2, batch=8, folds=0)


@pytest.fixture(scope="module")
def images():
    pairs = [sample("plain", seed=0, index=index) for index in range(24)]
    pixels = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image, _ in pairs])
    labels = np.array([[int(digit) for digit in text] for _, text in pairs])
    return Images(pixels, labels, tuple(text for _, text in pairs))


def test_knowing_nothing_costs_the_logarithm_of_ten_per_digit():
    loss = digit_loss(torch.zeros(2, 6, 10), torch.tensor([[0, 1, 2, 3, 4, 5]] * 2))
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


def test_the_loss_is_the_mean_over_heads():
    logits = torch.zeros(1, 6, 10)
    logits[0, 0, 3] = 100  # one head sure and right, five know nothing
    loss = digit_loss(logits, torch.full((1, 6), 3))
    assert loss.item() == pytest.approx(5 / 6 * math.log(10), rel=1e-6)


def test_a_text_is_right_only_with_all_six_digits():
    logits = torch.zeros(2, 6, 10)
    logits[:, :, 1] = 5
    logits[1, 5, 2] = 9  # the second text reads 111112
    found = scores(logits, np.ones((2, 6), np.int64))
    assert found["exact_match"] == 0.5
    assert found["digit_accuracy"] == pytest.approx(11 / 12)


def test_an_epoch_shows_every_image_once_with_its_label(images):
    still = dataclasses.replace(TINY, rotation=0, translation=0, perspective=0)
    batches = list(shuffled(images, still, torch.Generator().manual_seed(0)))
    assert [len(pixels) for pixels, _ in batches] == [8, 8, 8]
    seen = {tuple(row) for _, labels in batches for row in labels.tolist()}
    assert seen == {tuple(row) for row in images.labels.tolist()}


def test_a_last_batch_of_one_is_left_out(images):
    config = dataclasses.replace(TINY, batch=23)
    batches = list(shuffled(images, config, torch.Generator().manual_seed(0)))
    assert [len(pixels) for pixels, _ in batches] == [23]


def test_mixup_blends_two_images_and_names_both_labels():
    pixels = torch.arange(4.0).reshape(4, 1, 1) * torch.ones(4, 50, 200)  # image i is all i
    labels = torch.arange(4).reshape(4, 1) * torch.ones(4, 6, dtype=torch.int64)
    batches = iter([(pixels, labels)])
    ((blended, first, second, share),) = mixed(batches, 1.0, torch.Generator().manual_seed(0))
    assert 0 < share < 1
    expected = share * first[:, 0] + (1 - share) * second[:, 0]
    torch.testing.assert_close(blended[:, 0, 0], expected.float())
    assert sorted(second[:, 0].tolist()) == [0, 1, 2, 3]


def test_without_mixup_images_stay_as_they_are():
    pixels, labels = torch.rand(3, 50, 200), torch.zeros(3, 6, dtype=torch.int64)
    batches = iter([(pixels, labels)])
    ((blended, _, _, share),) = mixed(batches, 0, torch.Generator().manual_seed(0))
    assert share == 1
    torch.testing.assert_close(blended, pixels)


class Broken(nn.Module):
    """Answers logits that are not a number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        return self.weight * torch.full((len(pixels), 6, 10), float("nan"))


def test_a_loss_that_is_no_number_stops_before_the_update():
    reader = Broken()
    optimizer = torch.optim.SGD(reader.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    batches = iter([(torch.zeros(2, 50, 200), torch.zeros(2, 6, dtype=torch.int64))])
    with pytest.raises(FloatingPointError, match="step 0: loss nan"):
        train_one_epoch(reader, batches, optimizer, schedule, 0, torch.Generator())
    assert reader.weight.item() == 1


def test_a_run_leaves_its_checkpoint_configuration_history_and_curves(images, tmp_path):
    best = train(images, TINY, tmp_path)
    assert load(best).config.backbone == TINY.backbone
    assert json.loads((tmp_path / "config.json").read_text()) == dataclasses.asdict(TINY)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 2
    assert Image.open(tmp_path / "curves.png").format == "PNG"


def test_the_same_seed_trains_the_same_reader(images, tmp_path):
    one, other = (load(train(images, TINY, tmp_path / name)) for name in ("one", "other"))
    found = (logits_of(one, images.pixels) - logits_of(other, images.pixels)).abs().max()
    assert found < 1e-3


@pytest.fixture(scope="module")
def start(images, tmp_path_factory):
    return load(train(images, TINY, tmp_path_factory.mktemp("start")))


def test_a_resumed_run_goes_on_after_the_last_finished_reader(images, start, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_IMAGES", 12)
    folds = dataclasses.replace(TINY, epochs=1, folds=2, repeats=1)
    whole = load(train(images, folds, tmp_path / "whole", start=start))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    saved = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)
    first = {"readers": saved["readers"][:1], "history": saved["history"][:1]}
    torch.save(first, tmp_path / "parts" / "last.pt")
    parts = load(train(images, folds, tmp_path / "parts", resume=True, start=start))
    assert (logits_of(whole, images.pixels) - logits_of(parts, images.pixels)).abs().max() < 1e-3
    history = json.loads((tmp_path / "parts" / "history.json").read_text())
    assert [row["reader"] for row in history] == [0, 1]


def test_every_image_is_read_by_readers_that_did_not_see_it(images, start, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_IMAGES", 8)
    shown, asked = [], []
    monkeypatch.setattr(module, "fit", lambda reader, images, *_: shown.append(images) or iter(()))

    def noted(reader, pixels):
        asked.append(pixels)
        return torch.zeros(len(pixels), 6, 10)

    monkeypatch.setattr(module, "logits_of", noted)
    means = []
    monkeypatch.setattr(
        module, "averaged", lambda readers, pixels: means.append(list(readers)) or readers[0]
    )
    readers = []
    monkeypatch.setattr(module, "begun", lambda *_: readers.append(deepcopy(start)) or readers[-1])
    train(images, dataclasses.replace(TINY, folds=3, repeats=2), tmp_path, start=start)
    assert [len(part) for part in shown] == [16] * 6
    assert means[0] == readers  # the one that is served
    assert all(len(mean) == 2 for mean in means[1:])  # one of either way to part the images
    for mean, pixels in zip(means[1:], asked, strict=True):
        for reader in mean:
            seen = shown[readers.index(reader)].pixels
            assert not {page.tobytes() for page in seen} & {page.tobytes() for page in pixels}
    with np.load(tmp_path / "held_out.npz") as held_out:
        assert held_out["logits"].shape == (24, 6, 10)
        assert sorted(map(tuple, held_out["labels"])) == sorted(map(tuple, images.labels))


def test_a_mean_has_the_mean_weights_and_the_images_statistics(images, start):
    other = deepcopy(start)
    with torch.no_grad():
        for weights in other.parameters():
            weights += 2
    mean = averaged([start, other], images.pixels)
    for one, both in zip(start.parameters(), mean.parameters(), strict=True):
        torch.testing.assert_close(both, one + 1)
    norm = next(part for part in mean.modules() if isinstance(part, nn.BatchNorm2d))
    seen = []
    norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    logits_of(mean, images.pixels)
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))


def test_folds_without_a_start_are_refused(images, tmp_path):
    with pytest.raises(ValueError, match="folds need --start"):
        train(images, dataclasses.replace(TINY, folds=3), tmp_path)


def test_too_few_images_for_the_folds_are_refused(images, start, tmp_path):
    with pytest.raises(ValueError, match="24 images: too few for 3 folds, 60 needed"):
        train(images, dataclasses.replace(TINY, folds=3), tmp_path, start=start)


def test_a_smaller_set_is_shown_more_often():
    assert TrainConfig().epochs_of(500) == 28  # 8,000 / 500 + 12
    assert TrainConfig().epochs_of(4000) == 14
    assert TrainConfig(epochs=7).epochs_of(500) == 7


class Sure(nn.Module):
    """Reads the mean grey's tens as every digit: surely, if the page is lighter than 100."""

    def forward(self, pixels):
        grey = pixels.float().mean((1, 2)).round()
        digits = nn.functional.one_hot((grey // 10 % 10).long(), 10).float()
        return ((grey > 100) * 20 + 1)[:, None, None] * digits[:, None].expand(-1, 6, -1)


def test_only_sure_answers_become_labels(images, monkeypatch):
    monkeypatch.setattr(module, "augmented", lambda pixels, *_: pixels.float())
    flat = np.stack([np.full((50, 200), grey, np.uint8) for grey in (35, 135, 255)])
    more = sure_answers(Sure(), flat, images, seed=0)
    assert len(more) == 26
    assert more.labels[24:].tolist() == [[3] * 6, [5] * 6]
    np.testing.assert_array_equal(more.pixels[24:], flat[1:])


def test_answers_that_a_changed_view_contradicts_are_no_labels(images, monkeypatch):
    monkeypatch.setattr(module, "augmented", lambda pixels, *_: pixels.float() - 20)
    flat = np.full((1, 50, 200), 135, np.uint8)
    assert len(sure_answers(Sure(), flat, images, seed=0)) == 24


def test_unlabelled_images_are_trained_on_after_the_labelled(images, tmp_path):
    still = dataclasses.replace(TINY, epochs=2)
    train(images, still, tmp_path, unlabelled=images.pixels)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[0]["images"] == 24
    assert history[-1]["images"] >= 24
    assert len(history) >= 3


def test_a_run_can_start_from_another_readers_weights(images, tmp_path):
    first = load(train(images, TINY, tmp_path / "first"))
    assert isinstance(first.see, Columns)
    still = dataclasses.replace(TINY, epochs=1, learning_rate=1e-12)
    second = load(train(images, still, tmp_path / "second", start=first))
    torch.testing.assert_close(second.see.position.weight, first.see.position.weight)


def test_a_run_names_the_images_it_was_trained_on(images, tmp_path):
    named = dataclasses.replace(images, source={"style": "plain", "seed": 0})
    train(named, dataclasses.replace(TINY, epochs=1), tmp_path)
    assert json.loads((tmp_path / "data.json").read_text()) == {"style": "plain", "seed": 0}


def test_a_run_is_not_overwritten(images, tmp_path):
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(FileExistsError, match="a run is there already"):
        train(images, TINY, tmp_path)


def test_four_images_are_learnt_by_heart(images, tmp_path):
    few = images.subset(np.array([0, 1, 2, 3] * 4))
    still = dataclasses.replace(
        TINY, epochs=45, rotation=0, translation=0, perspective=0, learning_rate=2e-3
    )
    reader = load(train(few, still, tmp_path))
    assert scores(logits_of(reader, few.pixels), few.labels)["exact_match"] == 1
