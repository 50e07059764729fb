import numpy as np
import pytest

from training.captcha import wide
from training.captcha.wide import ALPHABET, FONTS, HERSHEY, glyph, sample


def test_an_image_is_drawn_the_same_again_and_no_two_are_alike():
    image, text = sample(seed=0, index=3)
    assert (image.shape, image.dtype) == ((50, 200), np.uint8)
    again, same = sample(seed=0, index=3)
    np.testing.assert_array_equal(again, image)
    assert same == text
    assert sample(seed=0, index=4)[1] != text
    assert sample(seed=1, index=3)[1] != text


def test_texts_are_six_digits_unless_others_are_wanted():
    rng = np.random.default_rng(0)
    assert all(text.isdigit() and len(text) == 6 for text in (wide.text_of(rng, False),) * 50)
    texts = [wide.text_of(rng, True) for _ in range(500)]
    assert {len(text) for text in texts} == {4, 5, 6, 7, 8}
    assert 0.03 < np.mean([not text.isdigit() for text in texts]) < 0.3


def test_no_letter_is_drawn_like_a_digit_and_no_sign_comes_twice():
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert not set("OoIlSsZzCc") & set(ALPHABET)


@pytest.mark.parametrize("font", range(len(FONTS) + len(HERSHEY) + 1))
def test_every_font_has_ink_for_every_sign(font):
    signs = ALPHABET if font < len(FONTS) + len(HERSHEY) else "0123456789"
    inks = {glyph(font, sign)[0].tobytes() for sign in signs}
    assert len(inks) == len(signs)  # none is the box of a sign that is missing
    assert 50 <= glyph(font, "8")[0].shape[0] <= 80


def test_the_ink_of_every_sign_is_on_the_page_in_the_order_of_the_text():
    for seed in range(30):
        covers = wide.placed("123456", (50, 200), np.random.default_rng(seed))
        middles = [np.average(np.arange(200), weights=cover.sum(0)) for cover in covers]
        assert all(cover.sum() > 20 for cover in covers)
        assert middles == sorted(middles)
