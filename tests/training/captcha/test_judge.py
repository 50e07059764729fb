"""The judge, and the pictures that it learns to turn away."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.captcha import wide
from training.captcha.generate import sample
from training.captcha.judge import (
    captchas,
    grey,
    pictures,
    set_least,
    train,
    wide_captchas,
    wide_other,
)
from training.captcha.model import load
from training.captcha.others import KINDS, other

SHIPPED = Path(__file__).parents[3] / "training" / "captcha" / "shipped.pt"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_drawn_the_same_again_and_no_two_are_alike(kind):
    first = other(kind, "wave", seed=0, index=0)
    assert (first.shape, first.dtype) == ((50, 200, 3), np.uint8)
    np.testing.assert_array_equal(other(kind, "wave", seed=0, index=0), first)
    assert (other(kind, "wave", seed=0, index=1) != first).any()


def test_captchas_come_first_and_half_as_many_others_again():
    pixels, is_captcha = pictures(4, seed=0)
    assert pixels.shape == (10, 50, 200)
    assert is_captcha.tolist() == [True] * 4 + [False] * 6
    np.testing.assert_array_equal(pixels[1], grey(sample("all", 0, 1)[0]))


def test_a_judge_learns_and_the_readers_digits_stay():
    reader = load(SHIPPED)
    pixels, is_captcha = pictures(40, seed=0)
    judged = train(reader, pixels, is_captcha, epochs=20)
    with torch.no_grad():
        batch = torch.from_numpy(pixels)
        verdict = judged.judge(*judged.look(batch)).numpy()
        before, after = reader(batch), judged(batch)
    assert verdict[is_captcha].mean() - verdict[~is_captcha].mean() > 1
    captchas = torch.from_numpy(is_captcha)
    assert (before.argmax(-1) == after.argmax(-1))[captchas].all()


def test_the_cut_lets_captchas_pass_that_the_judge_did_not_learn_from():
    judged = load(SHIPPED)
    judged.judge.least.fill_(1000)
    fresh = captchas(20, seed=11)
    set_least(judged, fresh)
    with torch.no_grad():
        verdict = judged.judge(*judged.look(torch.from_numpy(fresh)))
    assert (verdict >= judged.judge.least).float().mean() >= 0.95
    assert judged.judge.least < 20


def test_wide_captchas_count_as_such_only_if_they_are_read_right():
    reader = load(SHIPPED)
    reader.judge = None
    pixels, right = wide_captchas(reader, 6, seed=5)
    assert pixels.shape == (6, 50, 200)
    with torch.no_grad():
        found = reader(torch.from_numpy(pixels)).argmax(-1).tolist()
    texts = [wide.sample(5, index)[1] for index in range(6)]
    assert right.tolist() == [
        "".join(map(str, digits)) == text for digits, text in zip(found, texts, strict=True)
    ]


def test_wide_others_are_no_six_digits(monkeypatch):
    monkeypatch.setattr(wide, "draw", lambda text, rng: text)
    texts = [wide_other(0, index) for index in range(40)]
    assert not any(text.isdigit() and len(text) == 6 for text in texts)
    assert any(text.isdigit() for text in texts)
    assert any(len(text) == 6 for text in texts)
