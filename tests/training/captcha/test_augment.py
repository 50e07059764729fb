import cv2
import numpy as np
import pytest
import torch

from training.captcha.augment import (
    augmented,
    blurred,
    compressed,
    grained,
    homographies,
    moved,
    rescaled,
    toned,
)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def noise():
    values = np.random.default_rng(0).integers(0, 256, (4, 50, 200), np.uint8)
    return torch.from_numpy(cv2.GaussianBlur(values.transpose(1, 2, 0), (0, 0), 2)).permute(2, 0, 1)


def test_a_homography_is_the_one_opencv_finds():
    source = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    target = np.array([[-0.9, -1.1], [1.2, -0.8], [0.7, 1], [-1, 0.6]], np.float32)
    (found,) = homographies(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    expected = cv2.getPerspectiveTransform(source, target)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_strength_nothing_moves(noise, rng):
    still = moved(noise.float(), rotation=0, translation=0, perspective=0, rng=rng)
    torch.testing.assert_close(still, noise.float(), atol=0.01, rtol=0)


def test_rotation_turns_about_the_middle_by_at_most_its_degrees(rng):
    page = torch.zeros(40, 50, 200)
    page[:, 24:26, 170:174] = 255  # 72 px right of the middle
    turned = moved(page, rotation=5, translation=0, perspective=0, rng=rng)
    rows = (turned.sum(2) * torch.arange(50)).sum(1) / turned.sum((1, 2)) - 24.5
    angles = torch.rad2deg(torch.asin(rows / 72))
    assert angles.abs().max() < 5.2
    assert angles.max() > 3
    assert angles.min() < -3


def test_translation_shifts_by_at_most_its_share(rng):
    page = torch.zeros(40, 50, 200)
    page[:, 23:27, 98:102] = 255
    shifted = moved(page, rotation=0, translation=0.1, perspective=0, rng=rng)
    columns = (shifted.sum(1) * torch.arange(200)).sum(1) / shifted.sum((1, 2)) - 99.5
    rows = (shifted.sum(2) * torch.arange(50)).sum(1) / shifted.sum((1, 2)) - 24.5
    assert 15 < columns.abs().max() < 20.1
    assert 3.5 < rows.abs().max() < 5.1


def test_perspective_leaves_half_the_images_and_never_loses_ink(rng):
    page = torch.full((40, 50, 200), 255.0)
    page[:, :, 20:24] = 0
    seen = moved(page, rotation=0, translation=0, perspective=0.2, rng=rng)
    same = (seen - page).abs().amax((1, 2)) < 1
    assert 8 < same.sum() < 32
    assert (seen.amin((1, 2)) < 50).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda p, rng: blurred(p, 1.2, rng),
        lambda p, rng: rescaled(p, 0.5, 1.6, rng),
        lambda p, rng: compressed(p, 25, 95, rng),
    ],
    ids=["blurred", "rescaled", "compressed"],
)
def test_a_flat_grey_stays_that_grey(change, rng):
    flat = torch.full((3, 50, 200), 130.0)
    torch.testing.assert_close(change(flat, rng), flat, atol=1.5, rtol=0)


def test_a_blur_is_the_one_opencv_makes(noise, rng):
    (found,) = blurred(noise[:1].float(), 1.2, rng)
    same_rng = torch.Generator().manual_seed(0)
    sigma = float(torch.rand(1, generator=same_rng)) * (1.2 - 0.01) + 0.01
    expected = cv2.GaussianBlur(
        noise[0].float().numpy(), (7, 7), sigma, borderType=cv2.BORDER_REPLICATE
    )
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_grain_has_at_most_its_deviation(rng):
    deviation = grained(torch.full((30, 50, 200), 128.0), 12, rng).std((1, 2))
    assert 8 < deviation.max() < 12.5


def test_tones_stay_between_black_and_white(noise, rng):
    changed = toned(noise.float(), rng)
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_augmentation_keeps_shape_and_range_and_follows_its_seed(noise):
    one, same, other = (
        augmented(noise, 5, 0.1, 0.2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert (one.shape, one.dtype) == ((4, 50, 200), torch.float32)
    assert one.min() >= 0
    assert one.max() <= 255
    torch.testing.assert_close(one, same)
    assert (one - other).abs().max() > 10


def test_augmentation_does_not_change_the_images_it_is_given(noise, rng):
    before = noise.clone()
    augmented(noise, 5, 0.1, 0.2, rng)
    torch.testing.assert_close(noise, before)


def test_augmentation_never_mirrors(rng):
    page = torch.zeros(64, 50, 200, dtype=torch.uint8)
    page[:, :, 60:80] = 255
    seen = augmented(page, 5, 0.1, 0.2, rng)
    left, right = seen[:, :, :100].sum((1, 2)), seen[:, :, 100:].sum((1, 2))
    assert (left > right).all()
