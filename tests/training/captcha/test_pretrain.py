import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.captcha import wide
from training.captcha.images import DIGITS, MOST_PLACES, NUMERALS, read_grey
from training.captcha.model import load, restructured
from training.captcha.pretrain import (
    ABSENT,
    PretrainConfig,
    column_loss,
    drawn,
    look_loss,
    pretrain,
    rate,
)

ROOT = Path(__file__).parents[3]
TINY = PretrainConfig(
    "test_resnet", epochs=1, fresh=16, shown=1, batch=8, warm_up=2, decay=1, tested=4
)


def test_a_part_is_in_the_styles_and_labels_end_where_the_text_does():
    pixels, labels = drawn(40, 0.25, seed=0)
    assert pixels.shape == (40, 50, 200)
    assert (labels[:10, :6] < 10).all()
    assert (labels[:10, 6:] == ABSENT).all()
    image, text = wide.sample(0, 30, others=True)
    np.testing.assert_array_equal(pixels[30], image)
    assert labels[30, : len(text)].tolist() == [wide.ALPHABET.index(sign) for sign in text]
    assert (labels[30, len(text) :] == ABSENT).all()


def test_places_without_a_sign_cost_nothing():
    labels = torch.tensor([[3, 4] + [ABSENT] * 6])
    logits = torch.zeros(1, 8, len(wide.ALPHABET))
    logits[0, 0, 3] = logits[0, 1, 4] = 50
    assert look_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)
    logits[0, 5, 1] = 50
    assert look_loss(logits, labels).item() == pytest.approx(0, abs=1e-6)


def test_columns_that_spell_the_text_cost_nothing():
    labels = torch.tensor([[3, 3, 7] + [ABSENT] * 5])
    path = [3, 10, 3, 3, 10, 10, 7, 10]  # 10 is the blank
    scores = 50.0 * torch.nn.functional.one_hot(torch.tensor([path]), 11)
    assert column_loss(scores, labels).item() == pytest.approx(0, abs=1e-6)
    wrong = torch.tensor([[3, 7] + [ABSENT] * 6])
    assert column_loss(scores, wrong).item() > 5


def test_the_rate_warms_up_holds_and_falls_to_nothing():
    config = PretrainConfig(epochs=10, fresh=100, shown=1, batch=10, warm_up=5, decay=2)
    assert rate(0, config) == pytest.approx(0.2)
    assert rate(50, config) == 1
    assert rate(90, config) == pytest.approx(0.5)  # 10 of the last 20 steps are left
    assert rate(100, config) == 0


def test_a_run_leaves_weights_that_know_all_places_and_signs_and_is_resumed(tmp_path):
    start = load(pretrain(TINY, tmp_path))
    assert (start.config.places, start.config.alphabet) == (8, wide.ALPHABET)
    assert load(tmp_path / "digits.pt").config.places == 6
    longer = PretrainConfig(**(TINY.__dict__ | {"epochs": 2}))
    pretrain(longer, tmp_path, resume=True)
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history) == 2
    assert np.isfinite([row["loss"] for row in history]).all()


def test_the_start_is_the_mean_of_the_weights_at_the_ends_of_cycles(tmp_path):
    ends = []
    for epochs in (1, 3):
        config = PretrainConfig(**(TINY.__dict__ | {"epochs": epochs}))
        start = load(pretrain(config, tmp_path, resume=epochs > 1)).state_dict()
        weights = torch.load(tmp_path / "last.pt", weights_only=True)["weights"]
        ends.append({name: weights[f"0.{name}"].clone() for name in start})
    for name, value in start.items():
        np.testing.assert_allclose(value, (ends[0][name] + ends[1][name]) / 2, atol=1e-6)
    assert any((ends[0][name] != ends[1][name]).any() for name in start)


def test_the_shipped_start_reads_the_samples_as_six_digits():
    start = load(ROOT / "training" / "captcha" / "start.pt")
    assert (start.config.places, start.config.alphabet) == (MOST_PLACES, wide.ALPHABET)
    reader = restructured(start, DIGITS, NUMERALS).eval()
    samples = json.loads((ROOT / "server" / "samples" / "captchas.json").read_text())
    pixels = np.stack([read_grey(ROOT / "server" / "samples" / name) for name in samples])
    with torch.no_grad():
        found = reader(torch.from_numpy(pixels)).argmax(-1).tolist()
    assert ["".join(map(str, digits)) for digits in found] == list(samples.values())
