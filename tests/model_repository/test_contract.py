"""What a client other than ours sees: names, types, shapes, one curl line."""

import base64
import io
import json
import subprocess
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from server.settings import ROOT

NOT_SIX = ROOT / "tests" / "data" / "not_six_digits"  # CAPTCHAs of five and seven digits

CONTRACT = {
    "document_detector": {
        "boxes": ("FP32", [-1, 4]),
        "scores": ("FP32", [-1]),
        "labels": ("BYTES", [-1]),
        "page_size": ("INT32", [2]),
        "page_count": ("INT32", [1]),
    },
    "captcha_reader": {
        "text": ("BYTES", [1]),
        "confidence": ("FP32", [1]),
        "digit_confidence": ("FP32", [6]),
        "certain": ("BOOL", [1]),
        "threshold": ("FP32", [1]),
    },
}
NUMPY = {"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_, "BOOL": np.bool_}


@pytest.fixture(params=["grpc", "http"])
def triton(server, request):
    """tritonclient itself, its module and a connection."""
    module = getattr(tritonclient, request.param)
    connection = module.InferenceServerClient(getattr(server, f"{request.param}_url"))
    yield module, connection
    connection.close()


@pytest.fixture
def image(samples, sample_pages, sample_captchas):
    """Ensemble -> a file that it answers."""
    names = {"document_detector": sample_pages, "captcha_reader": sample_captchas}
    return {model: (samples / next(iter(files))).read_bytes() for model, files in names.items()}


@pytest.fixture
def infer(triton):
    """`infer(ensemble, image, **parameters)` -> output name -> array, all outputs asked for."""
    module, connection = triton

    def infer(ensemble: str, image: bytes, **parameters) -> dict[str, np.ndarray]:
        tensor = module.InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([image], np.object_))
        outputs = [module.InferRequestedOutput(name) for name in CONTRACT[ensemble]]
        answer = connection.infer(ensemble, [tensor], outputs=outputs, parameters=parameters)
        return {name: answer.as_numpy(name) for name in CONTRACT[ensemble]}

    return infer


@pytest.mark.parametrize("ensemble", CONTRACT)
def test_an_ensemble_declares_its_contract(server, ensemble):
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{ensemble}") as reply:
        metadata = json.load(reply)
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    outputs = {io["name"]: (io["datatype"], io["shape"]) for io in metadata["outputs"]}
    assert outputs == CONTRACT[ensemble]


@pytest.mark.parametrize("ensemble", CONTRACT)
@pytest.mark.parametrize("form", ["file", "base64"])
def test_an_ensemble_answers_in_the_types_and_shapes_of_its_contract(infer, image, ensemble, form):
    sent = image[ensemble] if form == "file" else base64.encodebytes(image[ensemble])
    answer = infer(ensemble, sent)
    for name, (datatype, shape) in CONTRACT[ensemble].items():
        array = answer[name]
        assert array.dtype == NUMPY[datatype]
        assert len(array.shape) == len(shape)
        assert all(size in (-1, got) for size, got in zip(shape, array.shape, strict=True))


@pytest.mark.parametrize(
    ("ensemble", "output"), [(model, name) for model, names in CONTRACT.items() for name in names]
)
def test_any_output_can_be_asked_for_alone(triton, image, ensemble, output):
    module, connection = triton
    tensor = module.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([image[ensemble]], np.object_))
    asked = [module.InferRequestedOutput(output)]
    assert connection.infer(ensemble, [tensor], outputs=asked).as_numpy(output) is not None


def test_scores_come_best_first_and_one_for_each_box(client, image):
    found = client.detect(image["document_detector"], confidence=0.01)
    assert len(found.scores) == len(found.labels) == len(found.boxes) >= 2
    assert (np.diff(found.scores) <= 0).all()
    width, height = found.page_size
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [width, height, width, height]).all()


def test_review_asks_for_what_its_thresholds_in_the_config_would(client, samples, sample_pages):
    config = (ROOT / "model_repository" / "document_postprocess" / "config.pbtxt").read_text()
    parameters = text_format.Parse(config, ModelConfig()).parameters
    accept, review = (
        {name: float(parameters[f"{point}_{name}"].string_value) for name in ("signature", "stamp")}
        for point in ("confidence", "review")
    )
    for name in sample_pages:
        page = samples / name
        found = client.detect(page, operating_point="review")
        asked = client.detect(page, confidence=review)
        np.testing.assert_array_equal(found.scores, asked.scores)
        sure = client.detect(page, operating_point="accept")
        assert all(one.score >= accept[one.label] for one in sure)
        assert len(found) >= len(sure) == len(client.detect(page))


def test_one_curl_line_with_base64_gives_plain_json(server, image, sample_captchas):
    body = json.dumps({"image": base64.b64encode(image["captcha_reader"]).decode()})
    url = f"http://{server.http_url}/v2/models/captcha_reader/generate"
    answer = subprocess.run(
        ["curl", "-s", "-d", "@-", url], input=body, capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["text"] == next(iter(sample_captchas.values()))


def test_generate_takes_thresholds_as_parameters(server, image):
    def found(parameters):
        body = {"image": base64.b64encode(image["document_detector"]).decode()}
        url = f"http://{server.http_url}/v2/models/document_detector/generate"
        request = urllib.request.Request(url, json.dumps(body | parameters).encode())
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    everything = found({"parameters": {"confidence": 0.0, "max_detections": 5}})
    assert len(everything["labels"]) == 5
    assert len(everything["boxes"]) == 20
    assert found({"parameters": {"confidence": 1.0}})["boxes"] == []


def test_raw_bytes_to_infer_are_answered(server, image):
    url = f"http://{server.http_url}/v2/models/document_detector/infer"
    headers = {
        "Inference-Header-Content-Length": "0",
        "Content-Type": "application/octet-stream",
    }
    request = urllib.request.Request(url, image["document_detector"], headers)
    with urllib.request.urlopen(request) as reply:
        header = json.loads(reply.read()[: int(reply.headers["Inference-Header-Content-Length"])])
    assert {output["name"] for output in header["outputs"]} == set(CONTRACT["document_detector"])


@pytest.fixture(scope="module")
def three_pages() -> bytes:
    """A TIFF of pages of three sizes."""
    first, *others = (Image.new("1", (300, height), 1) for height in (100, 200, 400))
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=others, compression="group4")
    return file.getvalue()


def test_each_page_of_a_tiff_can_be_asked_for(infer, three_pages):
    answers = [infer("document_detector", three_pages, page=page) for page in (1, 2, 3)]
    assert [answer["page_size"].tolist() for answer in answers] == [
        [300, 100],
        [300, 200],
        [300, 400],
    ]
    assert [answer["page_count"].tolist() for answer in answers] == [[3]] * 3
    without = infer("document_detector", three_pages)
    assert without["page_size"].tolist() == [300, 100]


def test_any_other_image_is_one_page(infer, image):
    assert infer("document_detector", image["document_detector"])["page_count"].tolist() == [1]


@pytest.mark.parametrize("page", [0, 4, -1, "2", 1.5, True])
def test_a_page_that_is_not_there_is_refused_with_value_and_count(
    server, triton, three_pages, page
):
    if isinstance(page, float) and triton[0] is tritonclient.grpc:
        pytest.skip("tritonclient sends no fraction over gRPC")
    module, connection = triton
    tensor = module.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([three_pages], np.object_))
    reason = rf"parameter page: {page!r}, limit a whole number 1 to 3"
    with pytest.raises(InferenceServerException, match=reason) as refused:
        connection.infer("document_detector", [tensor], parameters={"page": page})
    assert refused.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")


def test_a_reading_is_certain_from_the_threshold_in_the_reply_on(infer, image):
    answer = infer("captcha_reader", image["captcha_reader"])
    path = ROOT / "model_repository" / "captcha_postprocess" / "config.pbtxt"
    config = text_format.Parse(path.read_text(), ModelConfig())
    served = np.float32(config.parameters["min_confidence"].string_value)
    assert answer["threshold"].tolist() == [served]
    assert answer["confidence"] >= served
    assert answer["certain"].tolist() == [True]
    nothing = io.BytesIO()
    Image.new("L", (200, 50), 255).save(nothing, "PNG")
    assert infer("captcha_reader", nothing.getvalue())["certain"].tolist() == [False]


@pytest.mark.parametrize("file", sorted(NOT_SIX.glob("*.png")), ids=lambda path: path.stem)
def test_a_captcha_of_five_or_seven_digits_is_not_certain(infer, file):
    assert infer("captcha_reader", file.read_bytes())["certain"].tolist() == [False]
