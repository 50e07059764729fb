"""What requests ask, in each of their forms."""

import json

import pytest
from tritonclient.grpc import service_pb2

from server.question import Question, question
from server.readiness import SAMPLE_ID

MODEL = "/v2/models/captcha_reader"
INFER = "/inference.GRPCInferenceService/ModelInfer"
IMAGE = b"\x00\xff image"
TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES"}


def binary(**parameters) -> tuple[str, bytes]:
    """The header's value and the body of a request with its image behind the JSON."""
    content = len(IMAGE).to_bytes(4, "little") + IMAGE
    tensor = TENSOR | {"parameters": {"binary_data_size": len(content)}}
    head = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return str(len(head)), head + content


@pytest.mark.parametrize("data", ["aW1n", ["aW1n"], [["aW1n"]]], ids=str)
def test_the_text_of_an_image_is_found_in_json(data):
    asked = Question("captcha_reader", b"aW1n", {"page": 2})
    if not isinstance(data, list):
        body = json.dumps({"image": data, "parameters": {"page": 2}}).encode()
        assert question(f"{MODEL}/generate", None, body) == asked
    else:
        told = {"inputs": [TENSOR | {"data": data}], "parameters": {"page": 2}}
        assert question(f"{MODEL}/versions/1/infer", None, json.dumps(told).encode()) == asked


def test_an_image_behind_the_json_is_found_and_how_to_answer_is_left_out():
    size, body = binary(binary_data_output=True, confidence=0.5)
    asked = question(f"{MODEL}/infer", size, body)
    assert asked == Question("captcha_reader", IMAGE, {"confidence": 0.5})


def test_a_body_may_be_the_image():
    assert question(f"{MODEL}/infer", "0", IMAGE) == Question("captcha_reader", IMAGE, {})


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "contents"])
def test_a_message_of_grpc_is_read_as_its_own_library_writes_it(raw):
    asked = service_pb2.ModelInferRequest(model_name="document_detector", id="7")
    tensor = asked.inputs.add(name="image", datatype="BYTES", shape=[1])
    if raw:
        asked.raw_input_contents.append(len(IMAGE).to_bytes(4, "little") + IMAGE)
    else:
        tensor.contents.bytes_contents.append(IMAGE)
    asked.outputs.add(name="boxes")
    asked.parameters["yes"].bool_param = True
    asked.parameters["page"].int64_param = 300
    asked.parameters["less"].int64_param = -5
    asked.parameters["operating_point"].string_param = "review"
    asked.parameters["iou"].double_param = 0.25
    message = asked.SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    expected = {"yes": True, "page": 300, "less": -5, "operating_point": "review", "iou": 0.25}
    assert question(INFER, None, body) == Question("document_detector", IMAGE, expected)


def test_what_is_sent_on_asks_the_same_and_is_no_user_s():
    path, body, headers = Question("captcha_reader", IMAGE, {"page": 2}).request()
    size = headers["Inference-Header-Content-Length"]
    assert question(path, size, body) == Question("captcha_reader", IMAGE, {"page": 2})
    assert json.loads(body[: int(size)])["id"] == SAMPLE_ID


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"image": 3}', b"{"])
def test_what_is_no_question_is_told(body):
    with pytest.raises(ValueError, match=r"no question|Expecting"):
        question(f"{MODEL}/generate", None, body)


def test_a_message_that_is_cut_short_is_told():
    with pytest.raises(ValueError, match=f"{INFER}: 6 bytes, no question"):
        question(INFER, None, b"\0\0\0\0\1\xff")
