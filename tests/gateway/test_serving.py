"""The gateway as a process: health, overload, keys, its end."""

import http.client
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from tests import pdfs
from tests.gateway.conftest import READY, ROOT, running


def connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def let_in(client: httpx.Client) -> float:
    """Pages that wait or are under way."""
    lines = client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("gateway_pages_let_in ")]
    return float(line.split()[1])


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        yield f"{host}:{port}"


def test_health_is_told(gateway):
    assert gateway.get("/healthz").json() == {"status": "ok"}
    ready = gateway.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_a_page_of_another_site_may_not_ask(gateway):
    """Browsers say so themselves (W3C Fetch Metadata); curl and the gateway's own page do not."""
    page = pdfs.blank()
    for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
        answer = gateway.post("/v1/documents", content=page, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"a: " + b"b" * 2**20, 431), (b"a: b\r\n" * 200 + b"\r\n", 431), (b"\0", 400)],
    ids=["long", "many", "none"],
)
def test_a_head_that_is_too_long_or_none_ends_its_connection(gateway_url, head, status):
    address = urlsplit(gateway_url)
    with socket.create_connection((address.hostname, address.port), 10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + head[: 2**16 + 100])
        answer = client.recv(2**16)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in answer


def test_a_key_that_is_no_text_is_refused(gateway):
    for key in (b"Bearer \xe9\xe9", b"Bearer a\tb", b"Bearer " + b"a" * 1000):
        answer = gateway.post("/detect", content=b"a", headers={"Authorization": key})
        assert answer.status_code == 401


def test_a_form_with_a_boundary_that_is_too_long_is_refused(gateway):
    kind = "multipart/form-data; boundary=" + "a" * 5000
    answer = gateway.post("/detect", content=b"a", headers={"Content-Type": kind})
    assert answer.status_code == 400


def test_a_page_too_large_for_a_number_is_refused_alone(gateway):
    answer = gateway.post("/v1/documents", content=pdfs.blank(1, (1e38, 1e38)))
    assert answer.json()["pages"][0]["error"]["status"] == 413


def test_metrics_count_requests_and_pages(gateway, samples):
    def count(name: str) -> float:
        lines = gateway.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    asked = 'gateway_requests_total{route="/v1/documents",status="200"}'
    before, pages = count(asked), count('gateway_pages_total{kind="pdf",outcome="ok"}')
    gateway.post("/v1/documents", content=pdfs.blank(3))
    assert count(asked) == before + 1
    assert count('gateway_pages_total{kind="pdf",outcome="ok"}') == pages + 3
    assert count("gateway_pages_under_way") == 0


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/detect?iou=\uff11", b"", 400),  # a digit, but not of ASCII
        ("/v1/documents?pages=\uff11", b"", 400),
        ("/v1/read", b"%PDF-1.7", 415),
        ("/v1/corrections/", b"", 404),  # and no way to the path without the slash
    ],
)
def test_what_is_none_is_refused(gateway, path, content, status):
    answer = gateway.post(path, content=content, headers={"Content-Type": "application/pdf"})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_openapi_describes_each_path_with_examples(gateway):
    told = gateway.get("/openapi.json").json()
    assert {"/detect", "/v1/documents", "/v1/read", "/v1/models", "/v1/render"} <= set(
        told["paths"]
    )
    for path in ("/detect", "/v1/documents"):
        post = told["paths"][path]["post"]
        form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["properties"]["file"]["format"] == "binary"
        names = {each["name"] for each in post["parameters"]}
        assert {"confidence", "iou", "max_detections", "operating_point"} <= names
        assert post["responses"]["200"]["content"]["application/json"]["example"]
        problem = post["responses"]["413"]["content"]["application/problem+json"]
        assert problem["example"]["limit"]
    assert "pages" in {
        each["name"] for each in told["paths"]["/v1/documents"]["post"]["parameters"]
    }


def test_a_body_over_the_limit_is_refused_before_it_is_sent(gateway_url):
    """The answer comes though none of the 200 MiB was sent."""
    with socket.create_connection(urlsplit(gateway_url).netloc.split(":"), 5) as raw:
        raw.sendall(b"POST /v1/documents HTTP/1.1\r\nHost: x\r\nContent-Length: 209715200\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        problem = json.loads(answer.read())
    assert answer.status == 413
    assert (problem["value"], problem["limit"]) == (209_715_200, 104_857_600)


def test_an_overloaded_gateway_refuses_at_once_and_says_when_to_come_again(samples):
    """One page is let in, to a server that never answers; what more comes is told at once,
    not after the second that a page may wait."""
    page = (samples / "page_150dpi.jpg").read_bytes()
    options = ["--at-once", "1", "--max-wait-s", "1", "--timeout-s", "2"]
    with silent() as triton, running(triton, *options) as url, ThreadPoolExecutor(1) as pool:
        first = pool.submit(httpx.post, f"{url}/detect", content=page, timeout=30)
        time.sleep(0.5)
        with httpx.Client(base_url=url) as client:
            client.get("/healthz")
            began = time.perf_counter()
            refused = client.post("/detect", content=page)
            took_s = time.perf_counter() - began
            document = client.post("/v1/documents", content=pdfs.blank())
        assert took_s < 0.5
        for answer in (refused, document):
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["type"] == "urn:countersign:busy"
        assert first.result().status_code == 504


def test_servers_that_are_away_are_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running(f"127.0.0.1:{port}") as url, httpx.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        page = pdfs.blank()
        answer = client.post("/v1/documents", content=page)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_next_server_is_asked_if_one_is_away(server, samples):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    page = (samples / "page_150dpi.jpg").read_bytes()
    with (
        running(f"127.0.0.1:{port},{server.grpc_url}") as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        for _ in range(3):
            assert client.post("/detect", content=page).status_code == 200


def test_requests_under_way_end_at_sigterm(server):
    """A document that was posted before the signal is answered whole; the exit status is 0."""
    options = ["--port", "0", "--log", "0", "--triton", server.grpc_url]
    command = [sys.executable, "-m", "gateway", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().removeprefix(READY).strip()
        asked = connection(url)
        asked.request("POST", "/v1/documents", pdfs.blank(30), {"Accept": "application/x-ndjson"})
        answer = asked.getresponse()
        answer.readline()
        process.send_signal(signal.SIGTERM)
        *pages, done = map(json.loads, answer)
        assert process.wait(20) == 0
    assert sorted(page["page"] for page in pages) == list(range(1, 31))
    assert (done["done"], done["errors"]) == (True, 0)


def test_a_caller_who_leaves_in_the_middle_leaves_nothing_behind(gateway, gateway_url):
    asked = connection(gateway_url)
    asked.request("POST", "/v1/documents", pdfs.blank(300), {"Accept": "application/x-ndjson"})
    answer = asked.getresponse()
    assert json.loads(answer.readline())["page_count"] == 300
    answer.readline()
    answer.close()
    asked.close()
    deadline = time.monotonic() + 5
    while let_in(gateway) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert let_in(gateway) == 0
    assert gateway.post("/v1/documents", content=pdfs.blank()).status_code == 200


KEY = "Bearer cs_12_x"


@dataclass
class Front:
    """A front that answers all alike, over HTTP, as a test says; the gateway before it."""

    status: int = 200
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    keys: list[str | None] = field(default_factory=list)  # that it was shown
    client: httpx.Client = field(init=False)


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """With a gateway that was told of keys."""
    told = Front()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.keys.append(self.headers["Authorization"])
            body = json.dumps({"error": told.error}).encode()
            self.send_response(told.status)
            for name, value in {"Content-Length": str(len(body)), **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{listener.server_address[1]}"
    with running(address, "--keyed") as url, httpx.Client(base_url=url) as client:
        told.client = client
        yield told
    listener.shutdown()


def test_a_key_is_passed_on_and_the_front_decides(front):
    front.status, front.error, front.headers = 401, "authorization: unknown key", {}
    front.keys.clear()
    none = front.client.post("/detect", content=pdfs.blank())
    assert (none.status_code, none.headers["www-authenticate"]) == (401, "Bearer")
    assert front.keys == []
    shown = {"Authorization": KEY}
    for method, path in (("POST", "/detect"), ("POST", "/v1/documents"), ("GET", "/v1/models")):
        answer = front.client.request(method, path, content=pdfs.blank(), headers=shown)
        assert answer.status_code == 401
        assert "unknown key" in answer.json()["detail"]
    assert front.keys == [KEY] * 3


def test_a_key_that_may_not_is_told_so(front):
    front.status, front.error, front.headers = 403, "key audit may not detect", {}
    answer = front.client.post("/detect", content=pdfs.blank(), headers={"Authorization": KEY})
    assert (answer.status_code, answer.json()["status"]) == (403, 403)


def test_a_front_without_room_is_told_at_once_with_its_own_time(front, samples):
    front.status, front.error, front.headers = 503, "busy", {"Retry-After": "7"}
    page = (samples / "page_150dpi.jpg").read_bytes()
    shown = {"Authorization": KEY}
    front.client.post("/detect", content=page, headers=shown)  # connects
    began = time.perf_counter()
    answer = front.client.post("/detect", content=page, headers=shown)
    assert time.perf_counter() - began < 0.5
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert "busy" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/documents", "/detect"])
def test_many_clients_at_once_are_all_answered(gateway, path, samples):
    page = (samples / "page_150dpi.jpg").read_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.post(path, content=page), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    first = [answer.json().get("detections") for answer in answers]
    assert all(each == first[0] for each in first)
