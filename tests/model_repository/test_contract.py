"""What a client other than ours sees: names, types, shapes, one curl line."""

import base64
import json
import subprocess
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

CONTRACT = {
    "document_detector": {
        "boxes": ("FP32", [-1, 4]),
        "scores": ("FP32", [-1]),
        "labels": ("BYTES", [-1]),
        "page_size": ("INT32", [2]),
    },
    "captcha_reader": {
        "text": ("BYTES", [1]),
        "confidence": ("FP32", [1]),
        "digit_confidence": ("FP32", [6]),
    },
}
NUMPY = {"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_}


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


@pytest.mark.parametrize("ensemble", CONTRACT)
def test_an_ensemble_declares_its_contract(server, ensemble):
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{ensemble}") as reply:
        metadata = json.load(reply)
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    outputs = {io["name"]: (io["datatype"], io["shape"]) for io in metadata["outputs"]}
    assert outputs == CONTRACT[ensemble]


@pytest.mark.parametrize("ensemble", CONTRACT)
@pytest.mark.parametrize("form", ["file", "base64"])
def test_an_ensemble_answers_in_the_types_and_shapes_of_its_contract(triton, image, ensemble, form):
    module, connection = triton
    sent = image[ensemble] if form == "file" else base64.encodebytes(image[ensemble])
    tensor = module.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([sent], np.object_))
    outputs = [module.InferRequestedOutput(name) for name in CONTRACT[ensemble]]
    answer = connection.infer(ensemble, [tensor], outputs=outputs)
    for name, (datatype, shape) in CONTRACT[ensemble].items():
        array = answer.as_numpy(name)
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
