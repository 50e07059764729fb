import dataclasses

import pytest
import torch

from training.captcha.model import CaptchaReader, ReaderConfig, load, save

PIXELS = torch.randint(0, 256, (3, 50, 200), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return CaptchaReader(ReaderConfig()).eval()


@torch.no_grad()
def test_bytes_give_six_times_ten_float_logits(reader):
    logits = reader(PIXELS)
    assert (logits.shape, logits.dtype) == ((3, 6, 10), torch.float32)


@torch.no_grad()
def test_contrast_and_brightness_do_not_matter(reader):
    dim = PIXELS.float() * 0.5 + 40
    torch.testing.assert_close(reader(dim), reader(PIXELS), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_an_empty_image_gives_finite_logits(reader):
    assert reader(torch.zeros(1, 50, 200, dtype=torch.uint8)).isfinite().all()


@torch.no_grad()
def test_an_image_is_read_the_same_alone_and_in_a_batch(reader):
    torch.testing.assert_close(reader(PIXELS[1:2])[0], reader(PIXELS)[1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_position_embeddings_reach_their_head_and_no_other(reader):
    before = reader(PIXELS)
    kept = reader.position.clone()
    reader.position[2] += 1
    changed = (reader(PIXELS) - before).abs().amax((0, 2)) > 1e-6
    reader.position.copy_(kept)
    assert changed.tolist() == [False, False, True, False, False, False]


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        {"position": 0},
        {"channels": 8},
        {"backbone": "mobilenetv4_conv_small_050"},
        {"backbone": "eca_nfnet_l0"},
    ],
    ids=str,
)
def test_every_part_can_be_changed(change):
    reader = CaptchaReader(dataclasses.replace(ReaderConfig(), **change)).eval()
    assert reader(PIXELS).shape == (3, 6, 10)


@torch.no_grad()
def test_a_saved_reader_loads_with_its_configuration_and_weights(reader, tmp_path):
    save(reader, tmp_path / "reader.pt")
    loaded = load(tmp_path / "reader.pt")
    assert loaded.config == reader.config
    assert not loaded.training
    torch.testing.assert_close(loaded(PIXELS), reader(PIXELS), atol=0, rtol=0)
