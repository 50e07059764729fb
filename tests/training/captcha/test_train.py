import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from training.captcha.generate import sample
from training.captcha.images import Images
from training.captcha.model import load
from training.captcha.train import (
    TrainConfig,
    digit_loss,
    logits_of,
    mixed,
    scores,
    shuffled,
    train,
    train_one_epoch,
)

TINY = TrainConfig(epochs=2, batch=8, held_out=0.25)


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


def test_a_resumed_run_ends_like_one_that_never_stopped(images, tmp_path):
    train(images, TINY, tmp_path / "whole")
    train(images, dataclasses.replace(TINY, patience=0), tmp_path / "parts")  # one epoch
    train(images, TINY, tmp_path / "parts", resume=True)
    whole, parts = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "parts")
    )
    assert len(parts) == 2
    assert parts[1]["train_loss"] == pytest.approx(whole[1]["train_loss"], rel=1e-3)


def test_a_run_can_start_from_another_readers_weights(images, tmp_path):
    first = load(train(images, TINY, tmp_path / "first"))
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


def test_training_ends_when_patience_does(images, tmp_path):
    train(images, dataclasses.replace(TINY, epochs=5, patience=0), tmp_path)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1


def test_four_images_are_learnt_by_heart(images, tmp_path):
    few = images.subset(np.array([0, 1, 2, 3] * 4))
    still = dataclasses.replace(
        TINY, epochs=45, rotation=0, translation=0, perspective=0, learning_rate=2e-3, patience=45
    )
    reader = load(train(few, still, tmp_path))
    assert scores(logits_of(reader, few.pixels), few.labels)["exact_match"] == 1
