"""A stand-in for the server, over gRPC and over HTTP, that answers as each test scripts it."""

import json
import logging
import select
import shlex
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

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
    "shed": (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "reached concurrency limit"),
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


@dataclass
class Fake:
    """What the stand-in does, and what it was asked.

    `script` is used up request by request: a key of STATUS, "stall" (says nothing until `release`
    is set or the caller is gone) or "hang up" (HTTP only); after it, requests are answered. An
    image that begins b"bad" is refused, b"slow" answered after 0.2 s. The page is as
    wide as its image has bytes, and as high as its number.
    """

    protocol: str
    url: str = ""
    script: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of the requests
    hints: dict[str, Any] = field(default_factory=dict)  # headers or metadata of failures
    certain: bool = True  # of readings
    page_counts: dict[bytes, int] = field(default_factory=lambda: {b"3 pages": 3})  # else 1
    release: Event = field(default_factory=Event)
    stalled: Semaphore = field(default_factory=lambda: Semaphore(0))  # one for each that waits
    abandoned: Semaphore = field(default_factory=lambda: Semaphore(0))  # for each whose caller left

    def fate(self, asked: Asked, gone: Callable[[], bool]) -> str:
        """Notes the request; a key of STATUS, "hang up", or "" for an answer."""
        self.asked.append(asked)
        self.times.append(time.time())
        fate = self.script.pop(0) if self.script else ""
        if fate == "stall":
            self.stalled.release()
            while not self.release.wait(0.01):
                if gone():
                    self.abandoned.release()
                    return "hang up"
            return ""
        if asked.image == b"slow":
            time.sleep(0.2)
        return fate or ("refused" if asked.image.startswith(b"bad") else "")


def outputs(asked: Asked, fake: Fake) -> list[tuple[str, str, list[int], bytes]]:
    """Name, datatype, shape and bytes of each output."""
    if asked.model == "captcha_reader":
        return [
            ("text", "BYTES", [1], strings("123456")),
            ("confidence", "FP32", [1], np.float32(0.8).tobytes()),
            ("digit_confidence", "FP32", [6], DIGITS.tobytes()),
            ("certain", "BOOL", [1], np.bool_(fake.certain).tobytes()),
            ("threshold", "FP32", [1], np.float32(0.75).tobytes()),
        ]
    page_size = np.array([len(asked.image), asked.parameters.get("page", 1)], np.int32)
    page_count = np.int32(fake.page_counts.get(asked.image, 1))
    return [
        ("boxes", "FP32", [2, 4], BOXES.tobytes()),
        ("scores", "FP32", [2], SCORES.tobytes()),
        ("labels", "BYTES", [2], strings("signature", "stamp")),
        ("page_size", "INT32", [2], page_size.tobytes()),
        ("page_count", "INT32", [1], page_count.tobytes()),
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
        )
        fate = self.fake.fate(asked, lambda: not context.is_active())
        if fate in STATUS:
            context.set_trailing_metadata(tuple(self.fake.hints.items()))
            context.abort(STATUS[fate][0], STATUS[fate][2])
        reply = service_pb2.ModelInferResponse()
        for name, datatype, shape, data in outputs(asked, self.fake):
            reply.outputs.add(name=name, datatype=datatype, shape=shape)
            reply.raw_output_contents.append(data)
        return reply


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
            {k: v for k, v in request["parameters"].items() if k != "binary_data_output"},
            {name.lower(): value for name, value in self.headers.items()},
        )
        fate = self.fake.fate(asked, self.gone)
        if fate == "hang up":
            self.close_connection = True
        elif fate:
            text = json.dumps({"error": STATUS[fate][2]}).encode()
            self.reply(STATUS[fate][1], text, self.fake.hints)
        else:
            self.answer(asked)

    def gone(self) -> bool:
        """Whether the caller hung up."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def answer(self, asked: Asked) -> None:
        found = outputs(asked, self.fake)
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


class Ipv6Server(HttpServer):
    address_family = socket.AF_INET6


@contextmanager
def serving_grpc(
    certificate: Certificate | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    connection_s: float | None = None,
) -> Iterator[Fake]:
    """The stand-in over gRPC; with a certificate it asks callers for theirs.

    Connections end after `connection_s`, as the front has them do.
    """
    fake = Fake("grpc")
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # as HttpServer.handle_error
    limits = [("grpc.max_receive_message_length", -1)]
    if connection_s:
        limits.append(("grpc.max_connection_age_ms", round(connection_s * 1000)))
    server = grpc.server(ThreadPoolExecutor(8), options=limits)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(fake), server)
    if certificate is None:
        port = server.add_insecure_port(f"{host}:{port}")
    else:
        pem, key = certificate.pem.read_bytes(), certificate.key.read_bytes()
        credentials = grpc.ssl_server_credentials([(key, pem)], pem, require_client_auth=True)
        port = server.add_secure_port(f"{host}:0", credentials)
    fake.url = f"{host}:{port}"
    server.start()
    yield fake
    fake.release.set()
    server.stop(None).wait()


@contextmanager
def serving_http(
    certificate: Certificate | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Fake]:
    """The stand-in over HTTP; with a certificate it asks callers for theirs."""
    fake = Fake("http")
    handler = type("Bound", (Handler,), {"fake": fake})
    server = (Ipv6Server if ":" in host else HttpServer)((host.strip("[]"), port), handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate.pem)
        context.load_cert_chain(certificate.pem, certificate.key)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.url = f"{host}:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


SERVING = {"grpc": serving_grpc, "http": serving_http}


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Fake]]:
    """Starts the stand-in over each protocol in turn."""
    return SERVING[request.param]


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


@pytest.fixture
def fake_grpc() -> Iterator[Fake]:
    """The stand-in over gRPC alone."""
    with serving_grpc() as fake:
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
