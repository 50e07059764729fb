"""What Envoy is told, by Envoy's own check; and the front before a real server."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from countersign import Client
from server import Settings
from server.front import (
    CONNECTION_S,
    body_max,
    configuration,
    endpoints,
    find_envoy,
    key_clusters,
    routes,
    trial,
)
from server.keys import Key
from server.memory import IMAGE_MIB, REPLICA_MIB, most_mib
from server.ports import with_free_ports
from server.readiness import NotReady, call
from server.repository import ensembles
from server.settings import ROOT
from tests.client.conftest import Fake, Servicer
from tests.reliability.attack import connect, generate, head

ENSEMBLES = {"document_detector": "detector", "captcha_reader": "reader", "b.2-x": "detector"}

STAND_IN = {
    "name": "grpc",
    "connect_timeout": "1s",
    "load_assignment": {
        "cluster_name": "grpc",
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "stand_in.sock"}}}}]}
        ],
    },
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
}


def write_endpoints(folder: Path) -> None:
    """What Envoy reads beside its configuration."""
    told = endpoints([("countersign-a_1", True)]) | {"rollout": trial(0, 0)}
    for name, resource in told.items():
        (folder / f"{name}.json").write_text(json.dumps({"resources": [resource]}))


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="0.0.0.0"),
        Settings(host="::", http_port=1, grpc_port=2, metrics_port=3),
        Settings(host="localhost", max_image_bytes=2**30, threads=1024),
    ],
    ids=lambda settings: settings.host,
)
def test_the_configuration_is_one_that_envoy_takes(settings, tmp_path):
    path = tmp_path / "front.json"
    path.write_text(json.dumps(configuration(settings, ENSEMBLES)))
    write_endpoints(tmp_path)
    command = [find_envoy(), "--mode", "validate", "--log-level", "warning", "-c", path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nor has it a warning


def test_a_version_on_trial_gets_its_share_before_the_served_one_and_within_a_key_s_bound():
    path = "/v2/models/captcha_reader/generate"
    leads = [
        (each["route"].get("cluster") or each["route"]["cluster_header"], each["match"])
        for each in routes(keys=True)
        if re.fullmatch(each["match"].get("safe_regex", {}).get("regex", ""), path)
    ]
    assert [(cluster, "runtime_fraction" in match) for cluster, match in leads] == [
        ("x-countersign-cluster-trial", True),
        ("x-countersign-cluster", False),
        ("http_trial", True),
        ("http", False),
    ]
    key = Key("bank", "1", ("detect",), "", "", at_once=3)
    bounds = {
        each["name"]: each["circuit_breakers"]["thresholds"][0]["max_requests"]
        for each in key_clusters([key])
    }
    names = ("http/bank", "grpc/bank", "http_trial/bank", "grpc_trial/bank")
    assert bounds == dict.fromkeys(names, 3)


def test_connections_that_end_for_their_age_cost_no_request(tmp_path, caplog):
    """Envoy before a stand-in; each connection is ended after half a second."""
    settings = with_free_ports(Settings(http_port=0, grpc_port=0, metrics_port=0))
    config = configuration(settings, ENSEMBLES)
    clusters = config["static_resources"]["clusters"]
    clusters[:] = [STAND_IN if each["name"] == "grpc" else each for each in clusters]
    age = '"max_connection_duration": "{}s"'
    text = json.dumps(config).replace(age.format(CONNECTION_S), age.format(0.5))
    (tmp_path / "front.json").write_text(text)
    write_endpoints(tmp_path)
    fake = Fake("grpc")
    behind = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(fake), behind)
    behind.add_insecure_port(f"unix:{tmp_path}/stand_in.sock")
    behind.start()
    command = [find_envoy(), "-c", "front.json", "--disable-hot-restart", "--log-level", "off"]
    envoy = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    caplog.set_level("INFO", "countersign")  # of attempts after the first
    try:
        admin = f"unix:{tmp_path}/admin.sock"
        until_ready(admin)
        ended = r"/stats?filter=^http.front.downstream_cx_max_duration_reached$"
        with Client(f"{settings.host}:{settings.grpc_port}") as client:
            asked, deadline = 0, time.monotonic() + 20
            while int(call(admin, ended, 5).rpartition(b":")[2]) < 3:
                client.detect(b"page", timeout_s=5)
                asked += 1
                assert time.monotonic() < deadline
    finally:
        envoy.kill()
        envoy.wait()
        behind.stop(None).wait()
    assert len(fake.asked) == asked
    assert not caplog.records


def until_ready(admin: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            call(admin, "/ready", 5)
            return
        except NotReady:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_body_holds_the_largest_image_as_text():
    settings = Settings(max_image_bytes=10**6)
    assert len(b64encode(bytes(10**6))) < body_max(settings) < len(b64encode(bytes(10**6))) + 2**17


def test_larger_limits_take_more_memory():
    assert most_mib(Settings(max_image_bytes=2**26, threads=2)) > most_mib(Settings(threads=2))
    two = most_mib(Settings(threads=2, replicas=2)) - most_mib(Settings(threads=2))
    assert two == REPLICA_MIB + 2 * IMAGE_MIB  # each decodes in two processes


def test_more_than_it_takes_are_told_when_to_come_again(server, samples):
    """As many as twice the bound at once, each a page: some are answered, others refused soon."""
    page = b64encode((samples / "page_300dpi.jpg").read_bytes()).decode()
    body = json.dumps({"image": page}).encode()
    url = f"http://{server.http_url}/v2/models/document_detector/generate"
    bound = 16 * server.settings.threads

    def ask(_) -> tuple[int, float, dict]:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(url, body, timeout=60) as answer:
                assert json.load(answer)["labels"]
                return 200, time.monotonic() - began, {}
        except urllib.error.HTTPError as error:
            return error.code, time.monotonic() - began, dict(error.headers)

    waits = set[int]()
    for _ in range(6):  # turns are told apart by whole seconds: a crowd that comes slowly has one
        with ThreadPoolExecutor(5 * bound) as clients:
            asked = [clients.submit(ask, i) for i in range(5 * bound)]
            with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready", timeout=5):
                pass  # is never refused
            answers = [one.result() for one in asked]
        refused = [(took_s, headers) for code, took_s, headers in answers if code == 503]
        assert {code for code, _, _ in answers} == {200, 503}
        assert len(answers) - len(refused) >= bound
        longest = max(took_s for code, took_s, _ in answers if code == 200)
        assert min(took_s for took_s, _ in refused) < longest / 2
        waits |= {int(headers["retry-after"]) for _, headers in refused}
        if len(waits) > 1:  # each gets a turn of its own
            break
    assert len(waits) > 1
    assert max(waits) <= 5


def test_clients_that_go_away_do_not_fill_tritonservers_queue(server, samples):
    """It goes on with what they asked for, so that the front counts it as under way."""
    page = b64encode((samples / "page_150dpi.jpg").read_bytes())
    bound = 16 * server.settings.threads
    body = b'{"image":"' + page + b'"}'
    for _ in range(4 * bound):
        with connect(server.http_url) as connection:
            length = f"Content-Length: {len(body)}"
            connection.sendall(head(generate("document_detector"), length) + body)
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as reply:
        text = reply.read().decode()
    counts = re.findall(r"^nv_inference_pending_request_count{.*} (\d+)", text, re.MULTILINE)
    assert sum(map(int, counts)) <= 1.5 * bound
    with Client(server.grpc_url) as client:
        assert client.detect(samples / "page_150dpi.jpg").labels


def test_answers_are_those_of_a_client_that_waited(server, samples):
    """The client's own retries carry it through, more clients than the bound."""
    captcha = (samples / "captcha_plain.png").read_bytes()
    with Client(server.grpc_url) as client, ThreadPoolExecutor(64) as clients:
        texts = clients.map(lambda _: client.read(captcha).text, range(200))
        assert set(texts) == {"265649"}


def test_ensembles_of_the_repository_are_those_that_may_be_asked():
    assert set(ensembles(ROOT / "model_repository")) == {"document_detector", "captcha_reader"}
