import json

import numpy as np
import pytest
from PIL import Image

from training.captcha.generate import STYLES, digit_masks, glyph, sample, write, write_samples
from training.captcha.images import load


@pytest.mark.parametrize("style", [*STYLES, "all"])
def test_an_image_is_200_by_50_rgb_with_six_digits_for_a_label(style):
    image, text = sample(style, seed=0, index=3)
    assert (image.shape, image.dtype) == ((50, 200, 3), np.uint8)
    assert len(text) == 6
    assert set(text) <= set("0123456789")


def test_the_same_seed_and_index_give_the_same_image():
    first, second = sample("lines", seed=5, index=8), sample("lines", seed=5, index=8)
    assert first[1] == second[1]
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("other", [("lines", 6, 8), ("lines", 5, 9), ("wave", 5, 8)])
def test_another_seed_index_or_style_gives_another_label(other):
    assert sample(*other)[1] != sample("lines", 5, 8)[1]


def test_all_takes_turns_through_the_styles():
    names = list(STYLES)
    for index in (0, 1, 6):
        expected = sample(names[index % 5], seed=1, index=index)[0]
        np.testing.assert_array_equal(sample("all", seed=1, index=index)[0], expected)


def test_an_unknown_style_is_refused():
    with pytest.raises(KeyError, match="cursive"):
        sample("cursive", seed=0, index=0)


@pytest.mark.parametrize("style", STYLES)
def test_each_digit_lies_whole_within_the_image_left_to_right(style):
    for seed in range(20):
        masks = digit_masks(STYLES[style], "888888", np.random.default_rng(seed))
        spans = [np.flatnonzero(mask.max(axis=0) > 0.5) for mask in masks]
        starts = [span[0] for span in spans]
        assert starts == sorted(starts)
        assert starts[0] >= 8
        assert spans[-1][-1] < 192
        for mask in masks:
            assert mask[[0, -1]].max() < 0.5


@pytest.mark.parametrize(
    "font", sorted({font for style in STYLES.values() for font in style.fonts})
)
def test_every_font_draws_ten_different_digits(font):
    drawn = {glyph(font, digit, 24).tobytes() for digit in "0123456789"}
    assert len(drawn) == 10


def test_a_longer_run_begins_with_the_images_of_a_shorter_one(tmp_path):
    write(tmp_path / "short", "plain", 2, seed=4)
    write(tmp_path / "long", "plain", 3, seed=4)
    short, long = ({p.name for p in (tmp_path / n).glob("*.png")} for n in ("short", "long"))
    assert short < long
    for name in short:
        one, other = (np.asarray(Image.open(tmp_path / n / name)) for n in ("short", "long"))
        np.testing.assert_array_equal(one, other)


def test_written_names_carry_the_labels_that_load_reads(tmp_path):
    write(tmp_path, "dark", 3, seed=0)
    labels = {"".join(map(str, row)) for row in load(tmp_path).labels}
    assert labels == {sample("dark", 0, index)[1] for index in range(3)}


def test_a_generated_folder_knows_its_style_and_seed(tmp_path):
    write(tmp_path / "images", "dark", 2, seed=7)
    expected = {"folder": "images", "images": 2, "style": "dark", "seed": 7}
    assert load(tmp_path / "images").source == expected


def test_samples_are_four_images_and_their_labels(tmp_path):
    write_samples(tmp_path, seed=2)
    labels = json.loads((tmp_path / "captchas.json").read_text())
    assert len(labels) == 4
    assert {path.name for path in tmp_path.glob("*.png")} == set(labels)
