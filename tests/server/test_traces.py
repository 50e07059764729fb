"""One trace and one id through client, gateway, front and tritonserver, as a collector has it."""

import gzip
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from countersign import Client
from server import Server, ServerError, Settings
from server.gateway import Gateway
from server.settings import ROOT

CAPTCHA = ROOT / "server" / "samples" / "captcha_plain.png"
PARTS = {"countersign-gateway", "countersign-front", "countersign-triton"}


@dataclass
class Collector:
    """What a stand-in for a collector was sent: the services of each trace, by its id in hex."""

    url: str = ""
    services: dict[str, set[str]] = field(default_factory=dict)

    def add(self, body: bytes, kind: str) -> None:
        """A request's body: protobuf, or JSON, in which ids are hex."""
        if "json" in kind:
            for one in json.loads(body)["resourceSpans"]:
                told = {each["key"]: each["value"] for each in one["resource"]["attributes"]}
                for scope in one["scopeSpans"]:
                    for span in scope["spans"]:
                        self._see(span["traceId"].lower(), told["service.name"]["stringValue"])
            return
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: each.value.string_value for each in one.resource.attributes}
            for scope in one.scope_spans:
                for span in scope.spans:
                    self._see(span.trace_id.hex(), told["service.name"])

    def _see(self, trace: str, service: str) -> None:
        self.services.setdefault(trace, set()).add(service)

    def gets(self, trace: str, services: set[str]) -> bool:
        """Whether it soon has spans of these services, and of no others, in a trace."""
        deadline = time.monotonic() + 10
        while not services <= self.services.get(trace, set()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.services.get(trace) == services


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if length := self.headers["Content-Length"]:
                body = self.rfile.read(int(length))
            else:
                body = b"".join(self.chunks())
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            found.add(body, self.headers["Content-Type"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        Thread(target=listener.serve_forever, args=[0.01], daemon=True).start()
        found.url = f"http://127.0.0.1:{listener.server_port}/v1/traces"
        yield found
        listener.shutdown()


@pytest.fixture(scope="module")
def traced(captcha_repository, collector) -> Iterator[Server]:
    """A server that tells the collector, and writes its log of requests to stdout."""
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port", "gateway_port"), 0)
    settings = Settings(
        repository=captcha_repository, traces=collector.url, log_requests=True, **ports
    )
    with Server(settings) as server:
        yield server


TRIES = 3  # as tritonserver keeps the spans of a lone request to itself now and then


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_clients_span_is_that_of_front_and_tritonserver(traced, collector, protocol):
    tracer = TracerProvider().get_tracer("a program of a user's")

    def asked() -> str:
        with (
            Client(getattr(traced, f"{protocol}_url"), protocol=protocol) as client,
            tracer.start_as_current_span("reads") as span,
        ):
            assert client.read(CAPTCHA).text == "265649"
        return f"{span.get_span_context().trace_id:032x}"

    expected = PARTS - {"countersign-gateway"}
    assert any(collector.gets(asked(), expected) for _ in range(TRIES))


@pytest.fixture(scope="module")
def gateway(traced, tmp_path_factory) -> Iterator[Gateway]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERSIGN_GATEWAY_DATA", str(tmp_path_factory.mktemp("data")))
        with Gateway(traced.settings) as gateway:
            yield gateway


def ask(gateway: Gateway, headers: dict[str, str]) -> str:
    """What the gateway reads in a CAPTCHA; the id of its answer is that of the request."""
    sent = {"Content-Type": "image/png"} | headers
    asked = urllib.request.Request(f"http://{gateway.url}/v1/read", CAPTCHA.read_bytes(), sent)
    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["x-request-id"] == headers["X-Request-Id"]
        return json.load(answer)["text"]


def test_a_request_of_the_gateway_is_one_trace(gateway, collector):
    def asked() -> str:
        trace = uuid4().hex
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-Id": trace}
        assert ask(gateway, headers) == "265649"
        return trace

    assert any(collector.gets(asked(), PARTS) for _ in range(TRIES))


def test_a_request_of_the_gateway_has_one_id_in_all_logs(gateway, capsys):
    request_id = "page-7.of_9"
    ask(gateway, {"X-Request-Id": request_id})
    logged: list[dict] = []
    deadline = time.monotonic() + 10
    while len(logged) < 2 and time.monotonic() < deadline:
        lines = [line for line in capsys.readouterr().out.splitlines() if request_id in line]
        logged += map(json.loads, lines)
        time.sleep(0.1)
    by_gateway, by_front = sorted(logged, key=lambda record: "replica" in record)
    assert (by_gateway["route"], by_gateway["status"]) == ("/v1/read", 200)
    assert (by_front["model"], by_front["status"]) == ("captcha_reader", 200)


def test_an_id_that_is_none_is_refused_by_the_gateway_too(gateway):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(gateway, {"X-Request-Id": "a b"})
    assert refused.value.code == 400
    assert "x-request-id: 'a b', limit 64 letters" in json.load(refused.value)["detail"]


def test_what_nobody_traces_is_no_trace_of_tritonservers(collector):
    """As the samples of the supervisor, after the tests above."""
    assert all("countersign-front" in services for services in collector.services.values())


@pytest.mark.parametrize("url", ["collector:4318", "https://a:1/v1/traces", "http://a/v1/traces"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ServerError, match=r"--traces: '.*', expected http://HOST:PORT/PATH"):
        Settings(traces=url)
