import dataclasses
import math

import pytest
import torch

from training.captcha.model import (
    CaptchaReader,
    Columns,
    ReaderConfig,
    load,
    restructured,
    save,
)

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
@pytest.mark.parametrize("columns", [128, 0], ids=["columns", "published"])
def test_position_embeddings_reach_their_head_and_no_other(columns):
    torch.manual_seed(0)
    reader = CaptchaReader(ReaderConfig(columns=columns)).eval()
    before = reader(PIXELS)
    embeddings = reader.see.position.weight if columns else reader.see.position
    embeddings[2] = -embeddings[2]
    changed = (reader(PIXELS) - before).abs().amax((0, 2)) > 1e-6
    assert changed.tolist() == [False, False, True, False, False, False]


@torch.no_grad()
def test_a_head_gets_the_mean_of_the_columns_weighed_by_its_embedding():
    columns = Columns((1, 1, 2), 2, 6).eval()  # from (B, 1, 1, 2): two columns of one value
    columns.blocks = torch.nn.ModuleList()
    columns.enter.weight.copy_(torch.tensor([[[1.0]], [[2.0]]]))
    columns.enter.bias.zero_()
    columns.position.weight.zero_()
    columns.position.weight[3, 0] = math.log(3)
    columns.position.bias.zero_()
    seen = columns(torch.tensor([[[[0.0, 1.0]]]]))[0]  # columns (0, 0) and (1, 2)
    torch.testing.assert_close(seen[0], torch.tensor([0.5, 1.0]))  # half of each
    torch.testing.assert_close(seen[3], torch.tensor([0.75, 1.5]))  # a quarter, three quarters


def test_a_backbone_without_a_map_of_stride_8_is_refused():
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224: maps of strides .*16.*8 is"):
        CaptchaReader(ReaderConfig(backbone="vit_tiny_patch16_224"))


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        {"columns": 0},
        {"columns": 0, "position": 0},
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


@torch.no_grad()
def test_a_judge_leaves_the_logits_of_what_it_lets_pass_and_levels_those_of_the_rest(reader):
    torch.manual_seed(1)
    judged = CaptchaReader(ReaderConfig(judge=8)).eval()
    judged.load_state_dict(reader.state_dict(), strict=False)
    judged.judge.least.fill_(-1000)
    torch.testing.assert_close(judged(PIXELS), reader(PIXELS))
    judged.judge.least.fill_(1000)
    torch.testing.assert_close(judged(PIXELS), torch.zeros(3, 6, 10))


def test_a_judged_reader_is_kept_whole_in_its_checkpoint(tmp_path):
    judged = CaptchaReader(ReaderConfig(judge=8)).eval()
    judged.judge.least.fill_(0.25)
    save(judged, tmp_path / "judged.pt")
    loaded = load(tmp_path / "judged.pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded(PIXELS), judged(PIXELS))
    assert loaded.judge.least == 0.25


@torch.no_grad()
def test_a_shared_head_reads_the_same_sight_the_same_at_every_place(reader):
    seen = torch.rand(2, 1, 128, generator=torch.Generator().manual_seed(0)).expand(2, 6, 128)
    logits = reader.read(seen)
    torch.testing.assert_close(logits, logits[:, :1].expand(2, 6, 10))


@torch.no_grad()
def test_weights_carry_over_to_other_lengths_and_signs():
    torch.manual_seed(0)
    start = CaptchaReader(ReaderConfig(places=8, alphabet="0123456789AB")).eval()
    fewer = restructured(start, 5, "b97").eval()
    assert fewer.config.alphabet == "b97"
    chosen = start(PIXELS)[:, :5, [11, 9, 7]]  # b begins as B
    torch.testing.assert_close(fewer(PIXELS), chosen)
    more = restructured(start, 9, "0123456789ABZ").eval()
    torch.testing.assert_close(more(PIXELS)[:, :8, :12], start(PIXELS))
    assert more(PIXELS).shape == (3, 9, 13)
