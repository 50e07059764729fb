import os
import time

import psutil
import pytest

from benchmarks.speed import server_cost
from benchmarks.speed.limit import read
from benchmarks.speed.server_cost import Memory, cpu_s, processes, shm_mib, step_ms
from countersign import Client


def test_a_step_that_triton_does_not_time_gets_the_rest():
    before = {"document_detector": (10, 1.0), "document_preprocess": (10, 0.2)}
    before |= {"document_yolo": (10, 0.0), "document_postprocess": (10, 0.1)}
    after = {"document_detector": (20, 1.3), "document_preprocess": (20, 0.3)}
    after |= {"document_yolo": (20, 0.001), "document_postprocess": (20, 0.12)}
    assert step_ms(before, after) == pytest.approx(
        {
            "document_detector": 30,
            "document_preprocess": 10,
            "document_postprocess": 2,
            "document_yolo": 18,
        }
    )


def test_the_processes_of_the_steps_are_told_apart_and_use_cpu(server, corpus):
    parts = processes(psutil.Process(server.tritons[0].pid))
    assert len(parts["document_preprocess"]) == 2  # instances
    assert {"front", "transport", "document_yolo", "captcha_heads"} < set(parts)
    before = cpu_s(parts)
    with Client(server.grpc_url) as client:
        for _ in range(20):
            client.detect(read(corpus, "a4_150_jpeg")[0])
    after = cpu_s(parts)
    assert after["document_yolo"] - before["document_yolo"] > 0.02
    assert after["captcha_heads"] - before["captcha_heads"] < 0.02


def test_memory_is_sampled_while_it_is_open():
    with Memory(psutil.Process(os.getpid()), 0.05) as memory:
        while len(memory.samples) < 2:
            time.sleep(0.01)
    this_process = psutil.Process().memory_full_info().pss / 2**20
    assert memory.samples[1].seconds == pytest.approx(0.1)
    assert memory.samples[1].pss_mib >= 0.9 * this_process  # its children come on top


def test_shared_memory_of_a_server_is_counted(tmp_path, monkeypatch):
    (tmp_path / "countersign-a_1").write_bytes(b"x" * 2**20)
    (tmp_path / "other").write_bytes(b"x" * 2**20)
    monkeypatch.setattr(server_cost, "SHM", tmp_path)
    assert shm_mib() == pytest.approx(1, rel=0.05)
