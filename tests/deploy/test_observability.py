"""Alert rules by promtool, and a real Prometheus that scrapes a real server."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from countersign import Client
from server.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARD = json.loads((OBSERVABILITY / "dashboard.json").read_text())
QUERIES = {
    f"{panel['title']}, {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}


@pytest.mark.needs("promtool")
def test_alerts_are_told_when_they_should_be_and_not_before(tmp_path):
    shutil.copy(OBSERVABILITY / "alerts.yaml", tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path)
    told = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_each_alert_has_a_test():
    rules = re.findall(r"- alert: (\w+)", (OBSERVABILITY / "alerts.yaml").read_text())
    tested = re.findall(
        r"alertname: (\w+)\n", (Path(__file__).parent / "alerts_test.yaml").read_text()
    )
    assert set(rules) == set(tested)


def ask(url: str, query: str) -> list[dict]:
    """What a Prometheus answers to a query now."""
    with urllib.request.urlopen(
        f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    ) as reply:
        return json.load(reply)["data"]["result"]


def has_seen_pages(url: str) -> bool:
    """Whether a Prometheus has seen the step's count of pages grow, which is told last."""
    try:
        return bool(ask(url, "increase(countersign_score_count[1m]) > 0"))
    except OSError:
        return False


@pytest.fixture(scope="module")
def prometheus(server, samples, tmp_path_factory) -> Iterator[str]:
    """The address of one that has scraped the server, with requests in between."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = (OBSERVABILITY / "prometheus.yaml").read_text()
    config = config.replace("127.0.0.1:8002", server.metrics_url)
    config = re.sub(r"interval: \d+s", "interval: 500ms", config)
    config = config.replace("alerts.yaml", str(OBSERVABILITY / "alerts.yaml"))
    (folder / "prometheus.yaml").write_text(config)
    port = free_port("127.0.0.1")
    command = ["prometheus", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={folder}", f"--config.file={folder}/prometheus.yaml"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    try:
        with Client(server.grpc_url) as client:
            while not has_seen_pages(url):
                client.detect(samples / "page_150dpi.jpg")
                client.read(samples / "captcha_plain.png")
                time.sleep(0.25)
                assert time.monotonic() < deadline, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("panel", QUERIES)
def test_each_query_of_the_dashboard_finds_data(panel, prometheus):
    query = QUERIES[panel].replace("$__rate_interval", "1m").replace("$instance", ".+")
    found = ask(prometheus, query)
    assert found, query
    assert not [each for each in found if each["value"][1] == "NaN"], query


@pytest.mark.needs("prometheus")
def test_all_that_is_scraped_is_taken(prometheus):
    """A sample that is there twice, or ill formed, would fail the scrape."""
    (up,) = ask(prometheus, 'up{job="countersign"}')
    assert up["value"][1] == "1"
    with urllib.request.urlopen(f"{prometheus}/api/v1/targets") as reply:
        (target,) = json.load(reply)["data"]["activeTargets"]
    assert target["lastError"] == ""


@pytest.mark.needs("prometheus")
def test_the_rules_are_loaded_and_quiet(prometheus):
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules") as reply:
        (group,) = json.load(reply)["data"]["groups"]
    assert {rule["state"] for rule in group["rules"]} == {"inactive"}
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
