import json

import numpy as np
import pytest
import torch

from training.captcha import ablation as module
from training.captcha.ablation import (
    Crnn,
    ablation,
    choices,
    ctc_texts,
    exact_match,
    first,
    starts,
)
from training.captcha.images import Images
from training.captcha.model import load
from training.captcha.train import TrainConfig, train


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16, 50, 200), np.uint8)
    return Images(pixels, rng.integers(0, 10, (16, 6)), tuple(map(str, range(16))))


def test_ctc_joins_repeats_and_drops_blanks():
    path = [3, 3, 10, 3, 7, 10, 10, 7]  # 3, blank, 3, 7, blank, 7
    log_probabilities = torch.nn.functional.one_hot(torch.tensor(path), 11)[:, None].float()
    assert ctc_texts(log_probabilities) == [[3, 3, 7, 7]]


@torch.no_grad()
def test_the_crnn_has_steps_for_six_equal_digits_with_blanks_between(images):
    found = Crnn()(torch.from_numpy(images.pixels))
    assert found.shape == (25, 16, 11)  # 11 steps are the least
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(25, 16))


def test_exact_match_needs_all_six_digits(images):
    logits = np.eye(10)[images.labels]
    assert exact_match(logits, images) == 1
    logits[0, 5] = np.eye(10)[(images.labels[0, 5] + 1) % 10]
    assert exact_match(logits, images) == 15 / 16


def test_too_few_images_are_refused(images):
    with pytest.raises(ValueError, match="16 images, 250 are needed"):
        first(images, 250)


def test_choices_score_every_variant(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIZES", (8,))
    found = choices(
        images, images, TrainConfig("test_resnet", epochs=1, batch=8, folds=0), tmp_path
    )
    assert list(found) == [
        "base",
        "published heads",
        "published heads without position embeddings",
        "mixup 0.2",
        "CRNN with CTC",
        "8 images",
        "published heads, 8 images",
    ]


def test_every_seed_gets_a_column_of_the_table(images, tmp_path):
    def measure(images, test, config, out):
        return {"base": config.seed / 10}

    table = ablation(images, images, range(3), TrainConfig(), tmp_path, measure)
    assert table == {"base": [0, 0.1, 0.2]}
    assert json.loads((tmp_path / "ablation.json").read_text()) == table


def test_a_start_is_scored_as_it_is_and_after_training(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIZES", (8, 16, 32))
    config = TrainConfig("test_resnet", epochs=1, batch=8, folds=0)
    start = train(images, config, tmp_path / "start")
    found = starts(start, images, images, config, tmp_path / "runs")
    assert list(found) == ["no image", "8 images", "16 images"]
    trained = load(tmp_path / "runs" / "start-8-0" / "best.pt")
    assert trained.config == load(start).config
