"""The stand-in for the ONNX Runtime backend, on a real server, held to the native one's rules."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import tritonclient.http

from server import ServerError, Settings, Triton

ANY_PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
X = np.array([[-1, 2, 3]], np.float32)
ACCELERATED = (
    'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "%s" } ] } }'
)


@pytest.fixture(scope="module")
def backend(load_backend):
    """The stand-in as a module, for its pure functions."""
    return load_backend("onnxruntime")


def config(name="x", dims="[ 1, 3 ]", kind="TYPE_FP32", batch=0, extra="") -> str:
    return (
        f'backend: "onnxruntime"\nmax_batch_size: {batch}\n'
        f'input [ {{ name: "{name}" data_type: {kind} dims: {dims} }} ]\n'
        f'output [ {{ name: "y" data_type: TYPE_FP32 dims: {dims} }} ]\n'
        f"instance_group [ {{ count: 1 kind: KIND_CPU }} ]\n{extra}\n"
    )


def add(repository: Path, name: str, text: str, rows: bool = False) -> Path:
    """A model that sets what is below 0 to 0; its file."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(text)
    file = repository / name / "1" / "model.onnx"
    torch.onnx.export(
        torch.nn.Threshold(0.0, 0.0),
        (torch.ones(1, 3),),
        file,
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}} if rows else None,
    )
    return file


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """`ask(model, x)` -> y from a server that has all the good models."""
    repository = tmp_path_factory.mktemp("good")
    add(repository, "plain", config())
    add(repository, "accelerated", config(extra=ACCELERATED % "openvino"))
    threads = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }'
    add(repository, "threads", config(extra=threads))
    add(repository, "batched", config(dims="[ 3 ]", batch=4), rows=True)
    file = add(repository, "renamed", config(extra='default_model_filename: "own.onnx"'))
    file.rename(file.with_name("own.onnx"))

    with Triton(Settings(repository=repository, **ANY_PORTS)) as triton:

        def ask(model: str, x: np.ndarray) -> np.ndarray:
            client = tritonclient.http.InferenceServerClient(triton.http_url)
            tensor = tritonclient.http.InferInput("x", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x)
            try:
                return client.infer(model, [tensor]).as_numpy("y")
            finally:
                client.close()

        yield ask


@pytest.mark.parametrize("model", ["plain", "accelerated", "threads", "renamed"])
def test_a_graph_is_served_as_it_is(ask, model):
    np.testing.assert_array_equal(ask(model, X), [[0, 2, 3]])


def test_a_batch_of_any_size_up_to_the_limit_is_served(ask):
    np.testing.assert_array_equal(ask("batched", np.repeat(X, 3, 0)), [[0, 2, 3]] * 3)


def test_config_pbtxt_chooses_the_provider(backend):
    asked = {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}
    chosen = backend.providers({"optimization": asked}, 2)
    assert [name for name, _ in chosen] == ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    assert chosen[0][1] == {"device_type": "CPU", "num_of_threads": "2"}
    assert backend.providers({}, 2) == [("CPUExecutionProvider", {})]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory) -> str:
    """Why each model of a bad repository failed, said by a server that could not start."""
    repository = tmp_path_factory.mktemp("bad")
    add(repository, "missing", config()).unlink()
    add(repository, "corrupt", config()).write_bytes(b"hello")
    add(repository, "unnamed", config(name="z"))
    add(repository, "integers", config(kind="TYPE_INT32"))
    add(repository, "narrow", config(dims="[ 1, 2 ]"))
    add(repository, "static", config(dims="[ 3 ]", batch=4))
    add(repository, "provider", config(extra=ACCELERATED % "tensorrt"))
    many = 'parameters { key: "inter_op_thread_count" value { string_value: "many" } }'
    add(repository, "threads", config(extra=many))
    with pytest.raises(ServerError) as refused:
        Triton(Settings(repository=repository, **ANY_PORTS)).start()
    return str(refused.value)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("missing", "unable to find 'models/missing/1/model.onnx' for model 'missing'"),
        ("corrupt", "unable to load 'models/corrupt/1/model.onnx': "),
        ("unnamed", "unexpected inference input 'z', allowed inputs are: x"),
        ("integers", "tensor 'x': the graph has float32, config.pbtxt int32"),
        ("narrow", "tensor 'x': the graph has shape [1, 3], config.pbtxt [1, 2]"),
        ("static", "tensor 'x': the graph has shape [1, 3], config.pbtxt [-1, 3]"),
        ("provider", "execution accelerator 'tensorrt' is not in the installed ONNX Runtime"),
        ("threads", "'inter_op_thread_count' to be a whole number, got many"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(refusals, model, reason):
    (why,) = (part for part in refusals.split("; ") if f" {model}: " in f" {part}")
    assert reason in why


def test_a_provider_that_is_not_installed_is_named_with_the_remedy(backend, monkeypatch):
    """As with the package `onnxruntime`, which has the plain CPU provider alone."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    asked = {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}
    with pytest.raises(ValueError, match=r"'openvino' is not in .* install onnxruntime-openvino"):
        backend.providers({"optimization": asked}, 0)
