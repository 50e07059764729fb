import json
import shutil
import subprocess
import sys

import pytest

from benchmarks.speed.load import ROOT, Load, command_line, figures, run
from benchmarks.speed.records import Latency
from server.ports import free_port


def test_figures_leave_the_warm_up_out():
    """Ten requests a second for ten seconds: slow in the first two, then 20 ms."""
    requests = [("page_640", i / 10, 500.0 if i < 20 else 20.0, "") for i in range(101)]
    found = figures(requests, client_cpu_s=0.303)
    assert found.client_cpu_ms == pytest.approx(3)  # of 101 requests
    assert found.latency == Latency(20, 20, 20, 20)
    assert (found.all_requests, found.requests) == (101, 81)
    # 80 that were due and answered in the 8 s, and five slow ones whose answers fell into them
    assert found.throughput == pytest.approx(85 / 8)


def test_a_wrong_answer_counts_as_failure_and_not_as_throughput():
    requests = [("captcha", i / 10, 1.0, "wrong" if i % 2 else "") for i in range(101)]
    found = figures(requests, 0)
    assert (found.failures, found.first_failure) == (50, "wrong")
    assert found.throughput == pytest.approx(40 / 8)


def test_kinds_are_told_apart():
    requests = [
        ("captcha" if i % 2 else "page_640", i, 5.0 if i % 2 else 50.0, "") for i in range(9)
    ]
    by_kind = figures(requests, 0).by_kind
    assert (by_kind["captcha"].p99, by_kind["page_640"].p50) == (5, 50)


def test_one_request_gives_no_figures():
    with pytest.raises(ValueError, match="1 requests, too few"):
        figures([("captcha", 0.0, 1.0, "")], 0)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_users_get_right_answers_over(protocol, server, corpus):
    load = Load(users=3, requests=12, protocol=protocol)
    found = run(load, getattr(server, f"{protocol}_url"), corpus)
    assert (found.failures, found.first_failure) == (0, "")
    assert found.all_requests >= 12
    assert found.client_cpu_ms > 0


@pytest.mark.alone
def test_arrivals_keep_their_rate_and_wait_for_nothing(server, corpus):
    found = run(Load(seconds=4, rate=30, kind="captcha"), server.grpc_url, corpus)
    assert found.failures == 0
    assert found.throughput == pytest.approx(30, rel=0.5)


def test_a_wrong_answer_is_a_failure(server, corpus, tmp_path):
    """The same files, but one digit expected otherwise."""
    wrong = tmp_path / "corpus"
    shutil.copytree(corpus, wrong)
    samples = json.loads((wrong / "corpus.json").read_text())
    for sample in samples:
        if sample["text"]:
            sample["text"] = str((int(sample["text"][0]) + 1) % 10) + sample["text"][1:]
    (wrong / "corpus.json").write_text(json.dumps(samples))
    found = run(Load(requests=10, kind="captcha"), server.grpc_url, wrong)
    assert found.failures == found.all_requests
    assert "expected" in found.first_failure


def test_a_server_that_is_not_there_is_a_failure_too(corpus):
    url = f"127.0.0.1:{free_port('127.0.0.1')}"
    found = run(Load(users=2, requests=4, kind="captcha", protocol="peer"), url, corpus)
    assert found.failures == found.all_requests
    assert "Connection refused" in found.first_failure


def test_two_workers_share_the_users(server, corpus, tmp_path):
    """locust distributed: a master and two workers, as the README says."""
    load = Load(users=4, requests=20, kind="captcha")
    words = command_line(load, server.grpc_url, corpus, tmp_path / "none.json")
    master = [*words, "--master", "--expect-workers", "2", "--csv", str(tmp_path / "found")]
    worker = [sys.executable, "-m", "locust", "-f", "benchmarks/speed/locustfile.py", "--worker"]
    workers = [subprocess.Popen(worker, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(2)]
    subprocess.run(master, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert [each.wait(20) for each in workers] == [0, 0]
    total = (tmp_path / "found_stats.csv").read_text().splitlines()[-1].split(",")
    assert (total[1], total[3]) == ("Aggregated", "0")
    assert int(total[2]) >= 20
