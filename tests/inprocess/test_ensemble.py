"""The same answers as a real server gives, to the last bit, and the same refusals."""

import base64
import io
import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from export.repository import set_parameters
from inprocess import Detector, Reader
from server import Server, Settings

REPOSITORY = Settings().repository
LOW = {"confidence": 0.001}  # a dozen boxes on a page and more


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(REPOSITORY)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(REPOSITORY)


Ask = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def ask(server: Server) -> Ask:
    """Asks the running server: an ensemble's name and outputs, an image, parameters."""
    client = grpc.InferenceServerClient(server.grpc_url)

    def infer(model: str, outputs: list[str], image: bytes, parameters: dict) -> dict:
        tensor = grpc.InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([image], np.object_))
        wanted = [grpc.InferRequestedOutput(name) for name in outputs]
        reply = client.infer(model, [tensor], outputs=wanted, parameters=parameters)
        return {name: reply.as_numpy(name) for name in outputs}

    return infer


def assert_same(alone: dict[str, np.ndarray], served: dict[str, np.ndarray]) -> None:
    """Types, shapes and bits alike; Triton sends text as bytes."""
    assert alone.keys() == served.keys()
    for name, theirs in served.items():
        ours = alone[name]
        if ours.dtype == np.object_:
            theirs = np.array([text.decode() for text in theirs], np.object_)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def as_file(image: Image.Image, form: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


@pytest.fixture(scope="module")
def page(samples: Path) -> Image.Image:
    return Image.open(samples / "page_150dpi.jpg").convert("RGB")


def test_sample_pages_are_answered_as_served(detector, ask, samples, sample_pages):
    for name in sample_pages:
        image = (samples / name).read_bytes()
        for parameters in ({}, LOW):
            served = ask("document_detector", detector.ensemble.outputs, image, parameters)
            assert_same(detector.detect(image, **parameters), served)


@pytest.mark.parametrize(
    "size", [(640, 640), (1240, 1754), (1754, 1240), (641, 2000), (97, 33), (4000, 21), (1, 1)]
)
def test_pages_of_all_sizes_are_answered_as_served(detector, ask, page, size):
    image = as_file(page.resize(size), "JPEG")
    served = ask("document_detector", detector.ensemble.outputs, image, LOW)
    assert served["page_size"].tolist() == list(size)
    assert_same(detector.detect(image, **LOW), served)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "BMP", "turned", "fax", "base64"])
def test_pages_of_all_formats_are_answered_as_served(detector, ask, page, form):
    small = page.resize((500, 707))
    exif = Image.Exif()
    exif[0x0112] = 6
    image = {
        "turned": lambda: as_file(small, "JPEG", exif=exif),
        "fax": lambda: as_file(small.convert("1"), "TIFF", compression="group4"),
        "base64": lambda: base64.b64encode(as_file(small, "JPEG")),
    }.get(form, lambda: as_file(small, form))()
    served = ask("document_detector", detector.ensemble.outputs, image, LOW)
    assert len(served["boxes"]) > 3
    assert_same(detector.detect(image, **LOW), served)


@pytest.mark.parametrize(
    "parameters",
    [
        {"confidence_stamp": 0.02},
        {"confidence": 0.01, "iou": 0.1},
        {"confidence": 0.01, "max_detections": 3},
        {"page": 2, "confidence": 0.01},
    ],
)
def test_parameters_mean_what_they_mean_to_the_server(detector, ask, page, parameters):
    other = page.transpose(Image.Transpose.ROTATE_180).resize((300, 400))
    image = as_file(page.resize((620, 877)), "TIFF", save_all=True, append_images=[other])
    served = ask("document_detector", detector.ensemble.outputs, image, parameters)
    assert served["page_count"].tolist() == [2]
    assert_same(detector.detect(image, **parameters), served)


@pytest.mark.parametrize("form", ["animated GIF", "palette PNG", "transparent PNG", "large BMP"])
def test_a_captcha_in_any_form_is_read_as_served(reader, ask, samples, form):
    captcha = Image.open(samples / "captcha_plain.png").convert("RGB")
    ink = Image.fromarray(255 - np.asarray(captcha.convert("L")))
    black = Image.new("RGBA", captcha.size, "black")
    black.putalpha(ink)  # dark digits on nothing
    blank = [Image.new("P", captcha.size, 255)] * 2
    image = {
        "animated GIF": lambda: as_file(captcha, "GIF", save_all=True, append_images=blank),
        "palette PNG": lambda: as_file(captcha.quantize(64), "PNG"),
        "transparent PNG": lambda: as_file(black, "PNG"),
        "large BMP": lambda: as_file(captcha.resize((1000, 250)), "BMP"),
    }[form]()
    served = ask("captcha_reader", reader.ensemble.outputs, image, {})
    labels = json.loads((samples / "captchas.json").read_text())
    assert served["text"].tolist() == [labels["captcha_plain.png"].encode()]
    assert_same(reader.read(image), served)


def test_captchas_are_read_as_served(reader, ask, samples, sample_captchas):
    for name in sample_captchas:
        captcha = Image.open(samples / name).convert("RGB")
        for size in (captcha.size, (300, 75), (120, 60)):
            image = as_file(captcha.resize(size), "PNG")
            assert_same(
                reader.read(image), ask("captcha_reader", reader.ensemble.outputs, image, {})
            )


@pytest.mark.parametrize(
    ("image", "parameters"),
    [
        (b"", {}),
        (b"hello", {}),
        ("cut", {}),
        ("page", {"confidence": 1.5}),
        ("page", {"confidense": 0.5}),
        ("page", {"max_detections": 0}),
        ("page", {"page": 2}),
    ],
)
def test_what_the_server_refuses_is_refused_in_its_words(detector, ask, page, image, parameters):
    whole = as_file(page.resize((300, 400)), "JPEG")
    sent = {"page": whole, "cut": whole[: len(whole) // 3]}.get(image, image)
    with pytest.raises(InferenceServerException) as served:
        ask("document_detector", detector.ensemble.outputs, sent, parameters)
    with pytest.raises(ValueError, match=r"^(image|parameter)") as alone:
        detector.detect(sent, **parameters)
    # the front knows no model's classes, and names their parameters as one kind
    assert str(alone.value).partition(", known")[0] in served.value.message()


def test_threads_together_get_what_one_gets(detector, page):
    images = [as_file(page.resize((400 + 10 * i, 600)), "JPEG") for i in range(6)]
    alone = [detector.detect(image, **LOW) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: detector.detect(image, **LOW), images * 4))
    for i, found in enumerate(together):
        expected = alone[i % len(images)]
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.01)


def test_detectors_of_two_repositories_stand_side_by_side(tmp_path, page):
    """Each has its own steps' code and settings, and none stays behind in the process."""
    copy = shutil.copytree(REPOSITORY, tmp_path / "copy")
    low = {"confidence_signature": "0.001", "confidence_stamp": "0.001"}
    set_parameters(copy / "document_postprocess" / "config.pbtxt", low)
    image = as_file(page, "JPEG")
    before = set(sys.modules)
    first, second = Detector(REPOSITORY), Detector(copy)
    assert len(second.detect(image)["boxes"]) > len(first.detect(image)["boxes"]) > 0
    left = {"decode", "fit", "header", "heads", "triton_python_backend_utils"}
    assert not left & (set(sys.modules) - before)


def test_what_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"no ensemble 'mine', there are captcha_reader, document"):
        Detector(REPOSITORY, "mine")
    copy = shutil.copytree(REPOSITORY, tmp_path / "copy")
    graph = max((copy / "document_yolo").glob("*/model.xml"), key=lambda path: int(path.parts[-2]))
    graph.write_text("<net")
    with pytest.raises(ValueError, match=rf"document_yolo: unable to load '{graph}'"):
        Detector(copy)
