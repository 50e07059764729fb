import numpy as np
import pytest

from benchmarks.speed.limit import read
from benchmarks.speed.load import Load, run
from benchmarks.speed.peers.run import PROVIDERS, onnx_detector, peer
from benchmarks.speed.peers.weights import SERVED, USUAL, write


@pytest.fixture(scope="module")
def onnx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    write(folder, None)
    return folder


def test_litserve_finds_what_is_found_as_served(corpus):
    with peer("litserve_openvino") as (url, _):
        found = run(Load(requests=6, kind="a4_150_jpeg", protocol="peer"), url, corpus)
    assert (found.failures, found.first_failure) == (0, "")


def test_fastapi_answers_over_the_usual_onnx(onnx, corpus):
    with peer("fastapi_ultralytics", ["--onnx", str(onnx / USUAL)]) as (url, _):
        load = Load(requests=6, kind="a4_150_jpeg", protocol="peer", checked=False)
        assert run(load, url, corpus).failures == 0


def test_a_peer_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match=r"(?s)none: not up, exit 1: .*No module named"):
        peer("none").__enter__()


def test_both_providers_agree(onnx, corpus):
    page = {"image": np.array(read(corpus, "a4_150_jpeg"), np.object_)}
    found = []
    for provider in PROVIDERS:
        detector = onnx_detector(onnx / SERVED, provider)
        preprocess, graph, _ = detector.ensemble.steps.values()
        found.append(graph(preprocess(page, {}), {})["predictions"])
        assert detector.detect(page["image"][0]).keys() == {*detector.ensemble.outputs}
    assert found[0].shape == (1, 6, 7392)
    np.testing.assert_allclose(*found, atol=0.05, rtol=1e-3)
