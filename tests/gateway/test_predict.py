"""The routes of platforms that run one container, by the shape of their requests."""

import base64
import http.client
import io
import json
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from gateway.settings import SettingsError, parse
from server.gateway import Gateway
from server.ports import free_port
from server.settings import parse as parse_server
from tests import pdfs
from tests.gateway.conftest import running

ROUTE = "/v1/endpoints/7/deployedModels/9"  # as Vertex AI makes them
BAD = {"image": {"b64": base64.b64encode(b"hello").decode()}}


def instance(data: bytes, **others: object) -> dict:
    return {"image": {"b64": base64.b64encode(data).decode()}, **others}


@pytest.fixture(scope="module")
def page(samples) -> bytes:
    return (samples / "page_150dpi.jpg").read_bytes()


@pytest.fixture(scope="module")
def shown(gateway, page) -> list[dict]:
    """What the gateway's own route answers about that page."""
    return gateway.post("/detect", content=page).json()["detections"]


def ask(client: httpx.Client, body: object, path: str = "/invocations") -> httpx.Response:
    return client.post(path, json=body)


def test_instances_are_answered_in_their_order(gateway, page, shown):
    answer = ask(gateway, {"instances": [instance(page), instance(pdfs.blank()), instance(page)]})
    assert answer.status_code == 200
    assert answer.json().keys() == {"predictions"}
    first, blank, last = answer.json()["predictions"]
    assert shown
    assert first["detections"] == last["detections"] == shown
    assert (first["width"], first["height"]) == Image.open(io.BytesIO(page)).size
    assert first["page"] == 1
    assert blank["detections"] == []


def test_a_page_of_a_file_and_the_detectors_parameters_can_be_asked(gateway, page, shown):
    pdf = pdfs.blank(3)
    answer = ask(gateway, {"instances": [instance(pdf, page=3), instance(pdf, page=4)]}).json()
    assert answer["predictions"][0]["page"] == 3
    assert answer["predictions"][1]["error"]["message"].startswith("page: 4, limit 1 to 3")
    parameters = {"confidence": 0.0, "max_detections": 1, "operating_point": "review"}
    answer = ask(gateway, {"instances": [instance(page)], "parameters": parameters}).json()
    assert answer["predictions"][0]["detections"] == shown[:1]


def test_an_instance_that_fails_fails_alone(gateway, page, shown):
    answer = ask(gateway, {"instances": [BAD, instance(page), {"image": {"b64": "%"}}]})
    assert answer.status_code == 200
    bad, good, none = answer.json()["predictions"]
    assert good["detections"] == shown
    assert bad.keys() == none.keys() == {"error"}
    assert (bad["error"]["code"], bad["error"]["status"]) == (415, "INVALID_ARGUMENT")
    assert none["error"]["message"].startswith("image: 1 characters, no base64")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"instances": [BAD]}, 415, "document: 5 bytes"),
        ({"instances": [BAD, {"image": {"b64": "%"}}]}, 415, "document: 5 bytes"),
        ({"instances": []}, 400, 'body: no "instances"'),
        ([], 400, 'body: no "instances"'),
        ({"instances": ["a"]}, 400, "instance: expected"),
        ({"instances": [{"image": {"b64": 1}}]}, 400, "image: expected"),
        ({"instances": [{"image": {"b64": ""}}]}, 400, "image: expected"),
        ({"instances": [{"picture": {}}]}, 400, "instance: expected"),
        ({"instances": [BAD | {"page": True}]}, 400, "page: 'True', limit 1"),
        ({"instances": [BAD] * 129}, 413, "instances: 129, limit 128"),
        ({"instances": [BAD], "parameters": {"confidence": 2}}, 400, "confidence: '2', limit 0"),
        ({"instances": [BAD], "parameters": {"iou": True}}, 400, "iou: 'True', expected a number"),
        ({"instances": [BAD], "parameters": {"what": 1}}, 400, "parameter: 'what', unknown"),
        ({"instances": [BAD], "parameters": {"pages": "1"}}, 400, "pages: an instance is one page"),
        ({"instances": [BAD], "parameters": [1]}, 400, "parameters: '[1]', expected an object"),
    ],
)
def test_what_fails_as_a_whole_is_told_as_googles_services_do(gateway, body, status, message):
    answer = ask(gateway, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json().values()
    assert (error["code"], error["status"]) == (status, "INVALID_ARGUMENT")
    assert error["message"].startswith(message)


def test_a_body_that_is_no_json_or_too_large_is_refused(gateway, gateway_url):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = gateway.post("/invocations", content=b"[" * 10_000, headers=headers)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    raw = http.client.HTTPConnection(urlsplit(gateway_url).netloc, timeout=10)
    raw.putrequest("POST", "/invocations")
    for name, value in (headers | {"Content-Length": str(2**30)}).items():
        raw.putheader(name, value)
    raw.endheaders()  # none of it is sent
    message = json.load(raw.getresponse())["error"]["message"]
    raw.close()
    assert message == "body: 1073741824 bytes, limit 139875672"  # base64 of 100 MiB, and 64 KiB


def test_a_file_as_the_body_is_one_instance(gateway, page, shown):
    """As SageMaker passes it on with any Content-Type."""
    for headers in ({"Content-Type": "image/jpeg"}, {"Content-Type": "application/x-image"}):
        answer = gateway.post("/invocations", content=page, headers=headers)
        assert answer.json()["predictions"][0]["detections"] == shown
    answer = gateway.post("/invocations", content=b"hello", headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, 415)


def test_it_is_healthy_once_pages_are_answered(gateway):
    assert gateway.get("/ping").status_code == 200
    with running(f"127.0.0.1:{free_port('127.0.0.1')}", "--timeout-s", "1") as url:
        assert httpx.get(f"{url}/ping", timeout=30).status_code == 503
        busy = httpx.post(f"{url}/invocations", json={"instances": [instance(pdfs.blank())]})
        assert (busy.status_code, busy.json()["error"]["status"]) == (503, "UNAVAILABLE")
        assert busy.headers["retry-after"]


def test_port_and_routes_come_from_vertex_ai(server, page, shown, monkeypatch):
    """The gateway beside a server, as the image runs it."""
    port = free_port("127.0.0.1")
    environment = {
        "AIP_HTTP_PORT": str(port),
        "AIP_PREDICT_ROUTE": f"{ROUTE}:predict",
        "AIP_HEALTH_ROUTE": ROUTE,
        "COUNTERSIGN_GATEWAY_LOG": "0",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = replace(server.settings, gateway_port=parse_server([]).gateway_port)
    with Gateway(settings), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get(ROUTE).json() == {"status": "ready"}
        answer = ask(client, {"instances": [instance(page)]}, f"{ROUTE}:predict")
        assert answer.json()["predictions"][0]["detections"] == shown
        assert client.post("/invocations", content=page).status_code == 404


def test_an_option_or_a_variable_of_ones_own_goes_before_the_platforms():
    platform = {"AIP_HTTP_PORT": "8123", "AIP_PREDICT_ROUTE": "/a:predict"}
    own = {"COUNTERSIGN_GATEWAY_PORT": "8124", "COUNTERSIGN_GATEWAY_PREDICT_ROUTE": "/b"}
    assert (parse([], platform).port, parse([], platform).predict_route) == (8123, "/a:predict")
    assert (parse([], platform | own).port, parse([], platform | own).predict_route) == (8124, "/b")
    assert parse(["--port", "8125"], platform | own).port == 8125
    assert parse_server([], platform).gateway_port == 8123
    assert parse_server([], platform | own).gateway_port == 8124


@pytest.mark.parametrize("route", ["predict", "/", "/a/", "/{path}", "/a?b", "//a"])
def test_a_route_that_is_no_plain_path_is_refused(route):
    with pytest.raises(SettingsError, match="--predict-route"):
        parse(["--predict-route", route], {})
