"""A stand-in for the server, over gRPC and over HTTP, that answers as each test scripts it."""

import json
import logging
import shlex
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

BOXES = np.array([[10, 20, 110, 60], [5.5, 6.5, 7.5, 8.5]], np.float32)
SCORES = np.array([0.9, 0.4], np.float32)
DIGITS = np.array([0.99, 0.98, 0.97, 0.96, 0.95, 0.94], np.float32)

STATUS = {  # of each scripted failure, in gRPC and HTTP, as Triton 2.51 gives them
    "refused": (grpc.StatusCode.INVALID_ARGUMENT, 400, "image: 3 bytes, no image"),
    "restricted": (
        grpc.StatusCode.UNAVAILABLE,
        403,
        "This API is restricted, expecting header 'x'",
    ),
    "unavailable": (grpc.StatusCode.UNAVAILABLE, 503, "server is stopping"),
    "broken": (grpc.StatusCode.INTERNAL, 500, "Stub process is not healthy"),
}


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    pem: Path
    key: Path


@dataclass(frozen=True)
class Asked:
    """One inference request, as it arrived."""

    model: str
    image: bytes
    parameters: dict[str, Any]
    headers: dict[str, str]
    outputs: tuple[str, ...]


@dataclass
class Fake:
    """What the stand-in does, and what it was asked.

    `script` is used up request by request: a key of STATUS, "stall" (says nothing for 1 s) or
    "hang up" (HTTP only); after it, requests are answered. An image b"bad" is refused, b"slow"
    answered after 0.3 s. The page is as wide as its image has bytes.
    """

    protocol: str
    url: str = ""
    script: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    min_confidence: str = ""  # in the reader's model config, if any
    config: str = ""  # a key of STATUS: how the request for that config fails

    def fate(self, asked: Asked) -> str:
        """Notes the request; a key of STATUS, "hang up", or "" for an answer."""
        self.asked.append(asked)
        fate = self.script.pop(0) if self.script else ""
        if fate == "stall":
            time.sleep(1)
            return ""
        if asked.image == b"slow":
            time.sleep(0.3)
        return fate or ("refused" if asked.image == b"bad" else "")


def outputs(asked: Asked) -> list[tuple[str, str, list[int], bytes]]:
    """Name, datatype, shape and bytes of each output."""
    if asked.model == "captcha_reader":
        return [
            ("text", "BYTES", [1], strings("123456")),
            ("confidence", "FP32", [1], np.float32(0.8).tobytes()),
            ("digit_confidence", "FP32", [6], DIGITS.tobytes()),
        ]
    page_size = np.array([len(asked.image), 7], np.int32)
    return [
        ("boxes", "FP32", [2, 4], BOXES.tobytes()),
        ("scores", "FP32", [2], SCORES.tobytes()),
        ("labels", "BYTES", [2], strings("signature", "stamp")),
        ("page_size", "INT32", [2], page_size.tobytes()),
    ]


def strings(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def ModelInfer(self, request, context):  # noqa: N802, gRPC's name
        asked = Asked(
            request.model_name,
            request.raw_input_contents[0][4:],
            {
                name: getattr(value, value.WhichOneof("parameter_choice"))
                for name, value in request.parameters.items()
            },
            dict(context.invocation_metadata()),
            tuple(output.name for output in request.outputs),
        )
        if fate := self.fake.fate(asked):
            context.abort(STATUS[fate][0], STATUS[fate][2])
        reply = service_pb2.ModelInferResponse()
        for name, datatype, shape, data in outputs(asked):
            reply.outputs.add(name=name, datatype=datatype, shape=shape)
            reply.raw_output_contents.append(data)
        return reply

    def ModelConfig(self, request, context):  # noqa: N802, gRPC's name
        if self.fake.config:
            context.abort(STATUS[self.fake.config][0], STATUS[self.fake.config][2])
        config = model_config_pb2.ModelConfig(name=request.name)
        if self.fake.min_confidence:
            config.parameters["min_confidence"].string_value = self.fake.min_confidence
        return service_pb2.ModelConfigResponse(config=config)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cut = int(self.headers["Inference-Header-Content-Length"])
        request = json.loads(body[:cut])
        asked = Asked(
            self.path.split("/")[3],
            body[cut + 4 :],
            request.get("parameters", {}),
            {name.lower(): value for name, value in self.headers.items()},
            tuple(output["name"] for output in request["outputs"]),
        )
        fate = self.fake.fate(asked)
        if fate == "hang up":
            self.close_connection = True
        elif fate:
            self.fail(fate)
        else:
            self.answer(asked)

    def answer(self, asked: Asked) -> None:
        found = outputs(asked)
        head = [
            {
                "name": name,
                "datatype": datatype,
                "shape": shape,
                "parameters": {"binary_data_size": len(data)},
            }
            for name, datatype, shape, data in found
        ]
        text = json.dumps({"model_name": asked.model, "outputs": head}).encode()
        data = b"".join(data for *_, data in found)
        self.reply(200, text + data, {"Inference-Header-Content-Length": str(len(text))})

    def do_GET(self) -> None:
        if self.fake.config:
            return self.fail(self.fake.config)
        parameters = {"min_confidence": {"string_value": self.fake.min_confidence}}
        config = {"parameters": parameters if self.fake.min_confidence else {}}
        return self.reply(200, json.dumps(config).encode(), {})

    def fail(self, fate: str) -> None:
        self.reply(STATUS[fate][1], json.dumps({"error": STATUS[fate][2]}).encode(), {})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class HttpServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address) -> None:
        """Callers that hang up are expected."""


@contextmanager
def serving_grpc(certificate: Certificate | None = None) -> Iterator[Fake]:
    """The stand-in over gRPC; with a certificate it asks callers for theirs."""
    fake = Fake("grpc")
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # as HttpServer.handle_error
    limits = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=limits)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(fake), server)
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pem, key = certificate.pem.read_bytes(), certificate.key.read_bytes()
        credentials = grpc.ssl_server_credentials([(key, pem)], pem, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    fake.url = f"127.0.0.1:{port}"
    server.start()
    yield fake
    server.stop(None).wait()


@contextmanager
def serving_http(certificate: Certificate | None = None) -> Iterator[Fake]:
    """The stand-in over HTTP; with a certificate it asks callers for theirs."""
    fake = Fake("http")
    server = HttpServer(("127.0.0.1", 0), type("Bound", (Handler,), {"fake": fake}))
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate.pem)
        context.load_cert_chain(certificate.pem, certificate.key)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.url = f"127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


SERVING = {"grpc": serving_grpc, "http": serving_http}


@pytest.fixture(params=SERVING)
def fake(request: pytest.FixtureRequest) -> Iterator[Fake]:
    """The stand-in over each protocol in turn."""
    with SERVING[request.param]() as fake:
        yield fake


@pytest.fixture
def fake_http() -> Iterator[Fake]:
    """The stand-in over HTTP alone."""
    with serving_http() as fake:
        yield fake


@pytest.fixture(params=SERVING)
def encrypted(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Fake]:
    """The stand-in over each protocol, encrypted, open to callers with the certificate."""
    with SERVING[request.param](certificate) as fake:
        yield fake


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Of 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
    command += f"-addext subjectAltName=IP:127.0.0.1 -out {made.pem} -keyout {made.key}"
    subprocess.run(["openssl", *shlex.split(command)], check=True, capture_output=True)
    return made
