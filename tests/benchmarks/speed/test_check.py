import json

import numpy as np
import pytest

from benchmarks.speed import check
from benchmarks.speed.check import PAGE, client_rate, compared, judge, record, slowed, yardstick
from benchmarks.speed.limit import read, timed
from benchmarks.speed.server_cost import step_ms, step_times
from countersign import Client
from server import Server, Settings

ROWS = {
    "page latency": [1.1, 1.2, 1.15],
    "captcha capacity": [0.6, 0.62, 0.61],  # misses its target of 0.8
    "document_preprocess": [0.50, 0.51, 0.49],
}


def test_a_baseline_holds_middles_and_the_targets_it_missed():
    slower = ROWS | {"document_preprocess": [0.53, 0.53, 0.53]}
    found = record([ROWS, slower, ROWS])
    assert found["rows"] == {"document_preprocess": 0.5}
    assert found["missed"] == ["captcha capacity"]


def test_the_row_that_grew_is_broken_and_a_known_miss_is_not():
    baseline = record([ROWS])
    assert {each.row: each.state for each in judge(ROWS, baseline)} == {
        "page latency": "kept",
        "document_preprocess": "kept",
    }
    slow = ROWS | {"document_preprocess": [0.60, 0.61, 0.59], "page latency": [1.5, 1.4, 1.6]}
    assert {each.state for each in judge(slow, baseline)} == {"broken"}


def test_rows_with_targets_are_not_compared_with_the_baseline():
    assert compared(ROWS) == {"document_preprocess": 0.5}


def test_the_yardstick_takes_time():
    assert 1 < np.median(timed(yardstick(), [None], 0.2)) < 2000  # ms


def test_a_step_slowed_down_still_answers_and_takes_a_fifth_longer(
    tmp_path, corpus, server, monkeypatch
):
    """The copy's step against the same step of the server beside it, in turn."""
    monkeypatch.setattr(check, "SLOW_STEP", check.SLOW_STEP.replace("1.2", "3"))
    copy = slowed(Settings().repository, "document_preprocess", tmp_path)
    settings = Settings(repository=copy, http_port=0, grpc_port=0, metrics_port=0)
    with Server(settings) as slow:
        ratios = []
        for _ in range(3):
            slowed_ms, usual_ms = (preprocess_ms(s, read(corpus, PAGE)) for s in (slow, server))
            ratios.append(slowed_ms / usual_ms)
    assert np.median(ratios) > 1.5


def preprocess_ms(server: Server, images: list[bytes]) -> float:
    before = step_times(server.http_url)
    with Client(server.grpc_url) as client:
        timed(client.detect, images, 0.7)
    steps = step_ms(before, step_times(server.http_url))
    assert set(steps) >= {"document_preprocess", "document_yolo", "document_postprocess"}
    return steps["document_preprocess"]


def test_clients_together_get_right_answers_a_second(server, corpus):
    with Client(server.grpc_url) as client:
        assert client_rate(client, read(corpus, "captcha"), True, 0.5) > 5


def test_a_baseline_is_needed(monkeypatch, corpus, tmp_path, capsys):
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(check.make_corpus, "write", lambda folder: None)
    monkeypatch.setattr("sys.argv", ["check", "--corpus", str(corpus)])
    with pytest.raises(SystemExit):
        check.main()
    assert "baseline.json is missing: --record writes it" in capsys.readouterr().err


def test_a_broken_row_is_named_and_ends_with_status_1(monkeypatch, corpus, tmp_path, capsys):
    (tmp_path / "baseline.json").write_text(json.dumps(record([ROWS])))
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(check.make_corpus, "write", lambda folder: None)
    slow = ROWS | {"document_preprocess": [0.60, 0.61, 0.59]}
    monkeypatch.setattr(check, "measure", lambda *_: slow)
    monkeypatch.setattr("sys.argv", ["check", "--corpus", str(corpus)])
    assert check.main() == 1
    assert "broken: document_preprocess" in capsys.readouterr().out
