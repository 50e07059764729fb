"""The stand-in backend, on a real server with small graphs, held to the native one's rules."""

import signal
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest
import torch
import tritonclient.http
from tritonclient.utils import InferenceServerException

from server import ServerError, Settings, Triton

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def backend(load_backend):
    """The stand-in as a module, for its pure functions."""
    return load_backend("openvino")


def times(factor: float | list[float], shape: list[int], named: bool = True) -> ov.Model:
    """The graph y = factor * x, float32."""
    x = ops.parameter(shape, np.float32, name="x")
    model = ov.Model([ops.multiply(x, ops.constant(np.array(factor, np.float32)))], [x])
    if named:
        model.inputs[0].get_tensor().set_names({"x"})
        model.outputs[0].get_tensor().set_names({"y"})
    return model


def config(dims="[ 1, 3 ]", out=None, kind="TYPE_FP32", batch=0, extra="", **parameters) -> str:
    keys = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in parameters.items()
    )
    return (
        f'backend: "openvino"\nmax_batch_size: {batch}\n'
        f'input [ {{ name: "x" data_type: {kind} dims: {dims} }} ]\n'
        f'output [ {{ name: "y" data_type: {kind} dims: {out or dims} }} ]\n'
        f"instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n{extra}\n{keys}"
    )


def add(repository: Path, name: str, text: str, *graphs: ov.Model) -> Path:
    """A model of as many versions as there are graphs; the folder of the last."""
    folder = repository / name / str(max(1, len(graphs)))
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text)
    for version, graph in enumerate(graphs, 1):
        ov.save_model(graph, repository / name / str(version) / "model.xml", compress_to_fp16=False)
    return folder


def infer(url: str, model: str, x: np.ndarray, version: str = "") -> np.ndarray:
    client = tritonclient.http.InferenceServerClient(url)
    kind = {"float32": "FP32", "int32": "INT32"}[x.dtype.name]
    tensor = tritonclient.http.InferInput("x", list(x.shape), kind)
    tensor.set_data_from_numpy(x)
    try:
        return client.infer(model, [tensor], model_version=version).as_numpy("y")
    finally:
        client.close()


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """`ask(model, x, version="")` -> y from a server that has all the good models."""
    repository = tmp_path_factory.mktemp("good")
    double = times(2, [1, 3])
    add(repository, "plain", config())
    ov.save_model(double, repository / "plain" / "1" / "model.xml")
    add(repository, "integers", config(kind="TYPE_INT32"), double)
    add(
        repository,
        "versions",
        config(extra="version_policy { all { } }"),
        times(2, [1, 3]),
        times(3, [1, 3]),
    )
    onnx_folder = add(repository, "onnx", config(extra='default_model_filename: "model.onnx"'))
    torch.onnx.export(
        torch.nn.Threshold(0.0, 0.0),
        (torch.ones(1, 3),),
        onnx_folder / "model.onnx",
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
    )
    tuned = {"PERFORMANCE_HINT": "throughput", "NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"}
    add(repository, "streams", config("[ 1, 100000 ]", **tuned), times(2, [1, 100_000]))
    shared = config("[ 1, 100000 ]", **tuned).replace("count: 1", "count: 2")
    add(repository, "unplanned", config("[ 1, 100000 ]"), times(2, [1, 100_000]))
    add(repository, "instances", shared, times(2, [1, 100_000]))
    add(repository, "batched", config("[ 3 ]", batch=4), times(2, [-1, 3]))
    add(
        repository,
        "padded",
        config("[ 3 ]", batch=4, ENABLE_BATCH_PADDING="YES"),
        times(2, [-1, 3]),
    )
    add(repository, "reshaped", config("[ 1, 5 ]", RESHAPE_IO_LAYERS="YES"), times(2, [1, -1]))
    add(repository, "any_width", config("[ 1, -1 ]"), times(2, [1, -1]))
    three = config("[ 1, -1 ]", out="[ 1, 3 ]", NUM_STREAMS="2")
    add(repository, "picky", three, times([2, 2, 2], [1, -1]))
    add(repository, "unknown_key", config(num_streams="many", NO_SUCH_KEY="1"), double)

    with Triton(Settings(repository=repository, **ANY_PORTS)) as triton:
        yield partial(infer, triton.http_url)


X = np.array([[-1, 2, 3]], np.float32)


def test_a_graph_is_served(ask):
    np.testing.assert_array_equal(ask("plain", X), 2 * X)


def test_tensors_come_in_the_types_of_the_config(ask):
    x = X.astype(np.int32)
    assert ask("integers", x).dtype == np.int32
    np.testing.assert_array_equal(ask("integers", x), 2 * x)


def test_several_versions_are_served_side_by_side(ask):
    np.testing.assert_array_equal(ask("versions", X, "1"), 2 * X)
    np.testing.assert_array_equal(ask("versions", X, "2"), 3 * X)
    np.testing.assert_array_equal(ask("versions", X), 3 * X)


def test_an_onnx_file_is_served(ask):
    np.testing.assert_array_equal(ask("onnx", X), [[0, 2, 3]])


@pytest.mark.parametrize("model", ["streams", "instances", "unplanned"])
def test_requests_at_the_same_time_get_each_its_own_answer(ask, model):
    inputs = [np.full((1, 100_000), number, np.float32) for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda x: ask(model, x), inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, 2 * x)


def test_an_inference_that_fails_is_answered_and_so_are_the_others(ask):
    """Five columns times three: OpenVINO finds out when it runs, and calls nobody back."""
    wide, good = np.ones((1, 5), np.float32), np.ones((1, 3), np.float32)

    def answer(number: int) -> str:
        try:
            return str(ask("picky", wide if number % 2 else good).tolist())
        except InferenceServerException as error:
            return error.message()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, range(32), timeout=60))
    assert answers[::2] == ["[[2.0, 2.0, 2.0]]"] * 16
    assert all("mismatch" in reason or "broadcast" in reason.lower() for reason in answers[1::2])


def test_a_stop_answers_the_requests_under_way(tmp_path):
    side = 1000
    x = ops.parameter([side, side], np.float32, name="x")
    y = x
    for _ in range(20):  # half a second's work
        y = ops.matmul(y, ops.constant(np.eye(side, dtype=np.float32)), False, False)
    slow = ov.Model([y], [x])
    slow.inputs[0].get_tensor().set_names({"x"})
    slow.outputs[0].get_tensor().set_names({"y"})
    add(tmp_path, "slow", config(f"[ {side}, {side} ]"), slow)
    ones = np.ones((side, side), np.float32)
    with ThreadPoolExecutor(12) as pool:
        with Triton(Settings(repository=tmp_path, **ANY_PORTS)) as triton:
            answers = [pool.submit(infer, triton.http_url, "slow", ones) for _ in range(12)]
            next(as_completed(answers))
            assert not all(answer.done() for answer in answers)
        for answer in answers:
            np.testing.assert_allclose(answer.result(timeout=30), ones)


def test_a_batch_of_another_size_than_the_static_one_is_refused(ask):
    np.testing.assert_array_equal(ask("batched", np.repeat(X, 4, 0)), 2 * np.repeat(X, 4, 0))
    with pytest.raises(InferenceServerException, match="requests with batch size '4', got '1'"):
        ask("batched", X)


def test_padding_answers_a_smaller_batch(ask):
    np.testing.assert_array_equal(ask("padded", X), 2 * X)


@pytest.mark.parametrize("model", ["reshaped", "any_width"])
def test_a_dynamic_graph_takes_the_width_it_is_given(ask, model):
    x = np.arange(5, dtype=np.float32)[None]
    np.testing.assert_array_equal(ask(model, x), 2 * x)


def test_unknown_keys_are_ignored_and_keys_are_case_sensitive(ask):
    np.testing.assert_array_equal(ask("unknown_key", X), 2 * X)


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> str:
    """Why each model of a bad repository failed, said by a server that could not start."""
    repository = tmp_path_factory.mktemp("bad")
    double = times(2, [1, 3])
    add(repository, "missing", config())
    (add(repository, "corrupt", config()) / "model.xml").write_text("<net")
    folder = add(repository, "no_weights", config(), double)
    (folder / "model.bin").write_bytes(b"")
    add(repository, "unnamed", config(), times(2, [1, 3], named=False))
    add(repository, "narrow", config("[ 1, 2 ]"), double)
    add(repository, "flat", config("[ 3 ]"), double)
    add(repository, "open_output", config(out="[ 1, -1 ]"), double)
    two = 'input [ { name: "z" data_type: TYPE_FP32 dims: [ 1 ] } ]'
    add(repository, "two_inputs", config(extra=two), double)
    add(repository, "hint", config(PERFORMANCE_HINT="FAST"), double)
    add(repository, "streams", config(NUM_STREAMS="-2"), double)
    add(repository, "threads", config(INFERENCE_NUM_THREADS="two"), double)
    add(repository, "compile_threads", config(COMPILATION_NUM_THREADS="2"), double)
    add(repository, "bf16", config(HINT_BF16="NO"), double)
    triton = Triton(Settings(repository=repository, **ANY_PORTS))
    with pytest.raises(ServerError) as refused:
        triton.start()
    assert triton.status == 1
    assert triton.status != -signal.SIGABRT  # as the native backend's
    return str(refused.value)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("missing", "unable to find 'models/missing/1/model.xml' for model 'missing'"),
        ("corrupt", "unable to load 'models/corrupt/1/model.xml': "),
        ("no_weights", "unable to load 'models/no_weights/1/model.xml': "),
        ("unnamed", "Port for tensor name y was not found"),
        ("narrow", "tensor 'x': the graph has shape [1,3], config.pbtxt dims [1, 2]"),
        ("flat", "tensor 'x': the graph has shape [1,3], config.pbtxt dims [3]"),
        ("open_output", "tensor 'y': the graph has shape [1,3], config.pbtxt dims [1, -1]"),
        ("two_inputs", "configuration expects 2 inputs, model provides 1"),
        ("hint", "'PERFORMANCE_HINT' to be LATENCY/THROUGHPUT/CUMULATIVE_THROUGHPUT, got FAST"),
        ("streams", "'NUM_STREAMS' to be AUTO/NUMA/a non-negative number, got -2"),
        ("threads", "'INFERENCE_NUM_THREADS' to be a non-negative number, got TWO"),
        ("compile_threads", "'COMPILATION_NUM_THREADS' is refused"),
        ("bf16", "'HINT_BF16' to be YES, got NO"),
    ],
)
def test_what_the_native_backend_refuses_is_refused_by_name(refusals, model, reason):
    (why,) = (part for part in refusals.split("; ") if f" {model}: " in f" {part}")
    assert reason in why


@pytest.mark.parametrize(
    ("settings", "instance", "instances", "expected"),
    [
        ({"NUM_STREAMS": "4"}, 0, 1, {"NUM_STREAMS": "4"}),
        (
            {"NUM_STREAMS": "4", "INFERENCE_NUM_THREADS": "7"},
            0,
            3,
            {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "3"},
        ),
        (
            {"NUM_STREAMS": "4", "INFERENCE_NUM_THREADS": "7"},
            2,
            3,
            {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "2"},
        ),
        (
            {"NUM_STREAMS": "AUTO", "INFERENCE_NUM_THREADS": "1"},
            1,
            2,
            {"NUM_STREAMS": "AUTO", "INFERENCE_NUM_THREADS": "1"},
        ),
    ],
)
def test_instances_share_streams_and_threads(backend, settings, instance, instances, expected):
    assert backend.share(settings, instance, instances) == expected


def test_a_request_alone_gets_all_threads_and_several_a_stream_each(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_THREADS", "2")
    folder = add(tmp_path, "unplanned", config(), times(2, [1, 3]))
    asked = {
        "name": "unplanned",
        "max_batch_size": 0,
        "default_model_filename": "",
        "instance_group": [{"count": 1}],
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["1", "3"]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": ["1", "3"]}],
    }
    alone, compile_shared = backend.load(folder.parent, "1", asked, "unplanned_0_0")
    for compiled, streams in ((alone, 1), (compile_shared(), 2)):
        assert compiled.get_property("NUM_STREAMS") == streams
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    planned = asked | {"parameters": {"NUM_STREAMS": {"string_value": "1"}}}
    assert backend.load(folder.parent, "1", planned, "unplanned_0_0")[1] is None
