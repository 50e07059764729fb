"""The client against the real server: over both protocols, with the samples."""

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from countersign import AsyncClient, Refused
from countersign.cli import main
from server.readiness import overlap

READER = Path(__file__).resolve().parents[2] / "model_repository" / "captcha_postprocess"


def test_each_sample_page_shows_its_signatures_and_stamps(client, samples, sample_pages):
    for name, expected in sample_pages.items():
        found = client.detect(samples / name)
        with Image.open(samples / name) as page:
            assert found.page_size == page.size
        assert len(found) == len(expected["boxes"])
        for box in expected["boxes"]:
            assert any(
                one.label == box["class"] and overlap(one.box, box["xyxy"]) > 0.5 for one in found
            ), f"{name}: no {box}"


def test_each_sample_captcha_is_read(client, samples, sample_captchas):
    for name, digits in sample_captchas.items():
        assert client.read(samples / name).text == digits


def test_certain_and_threshold_are_the_servers(client, samples, sample_captchas):
    config = ModelConfig()
    text_format.Parse((READER / "config.pbtxt").read_text(), config)
    captcha = samples / next(iter(sample_captchas))
    reading = client.read(captcha)
    expected = float(config.parameters["min_confidence"].string_value)
    assert reading.threshold == pytest.approx(expected)
    assert reading.certain is (reading.confidence >= expected)
    assert client.read(captcha, min_confidence=1).certain is False


def test_every_page_of_a_tiff_is_answered(client, samples, sample_pages, tmp_path):
    """The sample page between two blank ones of other sizes."""
    with Image.open(samples / next(iter(sample_pages))) as image:
        page = image.convert("RGB")
    blank = [Image.new("RGB", size, "white") for size in ((300, 400), (500, 200))]
    file = tmp_path / "pages.tif"
    blank[0].save(file, save_all=True, append_images=[page, blank[1]])
    pages = list(client.detect_pages(file))
    assert [each.page_size for each in pages] == [(300, 400), page.size, (500, 200)]
    assert [(each.page, each.page_count) for each in pages] == [(1, 3), (2, 3), (3, 3)]
    assert [len(each) > 0 for each in pages] == [False, True, False]
    alone = client.detect(file, page=2)
    np.testing.assert_array_equal(alone.boxes, pages[1].boxes)
    with pytest.raises(Refused, match="page: 4"):
        client.detect(file, page=4)


def test_models_are_those_of_the_repository_with_its_operating_points(server, client):
    models = {model.name: model for model in client.models()}
    assert set(models) == {"captcha_reader", "document_detector"}
    configs = {}
    for name in ("captcha", "document"):
        text = (READER.parent / f"{name}_postprocess" / "config.pbtxt").read_text()
        configs[name] = text_format.Parse(text, ModelConfig()).parameters
    threshold = configs["captcha"]["min_confidence"].string_value
    assert models["captcha_reader"].confidence == float(threshold)
    assert models["document_detector"].confidence == {
        name: float(configs["document"][f"confidence_{name}"].string_value)
        for name in ("signature", "stamp")
    }
    newest = max(int(path.name) for path in (READER.parent / "document_yolo").glob("[0-9]*"))
    assert models["document_detector"].version == newest

    async def listed():
        async with AsyncClient(server.grpc_url) as other:
            return await other.models()

    assert asyncio.run(listed()) == list(models.values())


def test_a_model_that_is_not_there_is_refused_by_name(client, samples, sample_pages):
    with pytest.raises(Refused, match="unknown model: 'nobody'"):
        client.detect(samples / next(iter(sample_pages)), model="nobody")


def test_asyncio_gives_the_same_as_blocking(server, client, samples, sample_pages):
    page = samples / next(iter(sample_pages))

    async def detect():
        async with AsyncClient(server.grpc_url) as other:
            return await other.detect(page, confidence=0.001)

    awaited, blocking = asyncio.run(detect()), client.detect(page, confidence=0.001)
    np.testing.assert_array_equal(awaited.boxes, blocking.boxes)
    np.testing.assert_array_equal(awaited.scores, blocking.scores)
    assert awaited.labels == blocking.labels


def test_an_array_is_the_same_page_as_its_file(client, samples, sample_pages):
    page = samples / next(iter(sample_pages))
    pixels = np.asarray(Image.open(page).convert("RGB"))
    lossless = io.BytesIO()
    Image.fromarray(pixels).save(lossless, "PNG")
    from_array = client.detect(pixels, confidence=0.001)
    from_file = client.detect(lossless.getvalue(), confidence=0.001)
    np.testing.assert_array_equal(from_array.boxes, from_file.boxes)
    np.testing.assert_array_equal(from_array.scores, from_file.scores)


def test_a_turned_page_is_measured_upright(client):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (300, 200), "white").save(file, "JPEG", exif=exif)
    assert client.detect(file.getvalue()).page_size == (200, 300)


def test_settings_reach_the_model(client, samples, sample_pages):
    page = samples / next(iter(sample_pages))
    assert len(client.detect(page, confidence=0, max_detections=3)) == 3
    signatures = client.detect(page, confidence={"signature": 0, "stamp": 1})
    assert set(signatures.labels) == {"signature"}


@pytest.mark.parametrize(
    ("image", "settings", "reason"),
    [
        (b"", {}, "image: 0 bytes"),
        (b"no image", {}, "image: 8 bytes"),
        (np.zeros((9, 9), np.uint8), {"confidence": float("nan")}, "parameter confidence: nan"),
        (np.zeros((9, 9), np.uint8), {"confidence": {"logo": 0.5}}, "confidence_logo: unknown"),
        (np.zeros((9, 9), np.uint8), {"iou": 1.5}, r"parameter iou: 1\.5"),
        (np.zeros((9, 9), np.uint8), {"max_detections": 0}, "parameter max_detections: 0"),
    ],
)
def test_the_servers_refusal_is_raised_in_its_words(client, image, settings, reason):
    with pytest.raises(Refused, match=reason):
        client.detect(image, **settings)


def test_among_many_only_the_bad_image_fails(client, samples, sample_pages):
    page = samples / next(iter(sample_pages))
    answers = list(client.detect_many([page, b"bad", page, page], concurrency=4))
    assert [type(answer).__name__ for answer in answers] == [
        "Detections",
        "Refused",
        "Detections",
        "Detections",
    ]


def test_the_command_reads_the_sample_captchas(server, samples, sample_captchas, capsys):
    files = [str(samples / name) for name in sample_captchas]
    assert main(["read", *files, "--json", "--url", server.grpc_url]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["text"] for record in records] == list(sample_captchas.values())
