"""Stand-in for Triton's native ONNX Runtime backend, for a Triton that has only the Python backend.

It serves the same model.onnx from the same config.pbtxt, on the plain CPU provider, or on
OpenVINO's where config.pbtxt has
  optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }
Names, element types and shapes must be the graph's, as with the native one. It differs in two ways:
instances are processes here, and inputs and outputs left out of config.pbtxt are not filled in.

Parameters, after onnxruntime_backend's README; unknown keys ignored:
  intra_op_thread_count   threads within an operation; 0 is every core
  inter_op_thread_count   threads across operations, where execution_mode is 1
  execution_mode          0, one operation at a time, or 1
"""

import json
import os
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

try:
    import onnxruntime
except ModuleNotFoundError:  # said when a model asks for it
    onnxruntime = None

PROVIDERS = {"openvino": "OpenVINOExecutionProvider"}  # by the name of the accelerator
NUMBERS = ("intra_op_thread_count", "inter_op_thread_count", "execution_mode")
TYPES = {  # of ONNX, where they are not named like NumPy's
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(string)": "object",
}


def numbers(parameters: dict[str, str]) -> dict[str, int]:
    """The whole numbers among config.pbtxt's parameters. Raises ValueError for one that is none."""
    texts = {key: parameters[key] for key in NUMBERS if key in parameters}
    for key, value in texts.items():
        if not value.isdigit():
            raise ValueError(f"expected the parameter '{key}' to be a whole number, got {value}")
    return {key: int(value) for key, value in texts.items()}


def providers(config: dict, threads: int) -> list[tuple[str, dict[str, str]]]:
    """ONNX Runtime's providers, by preference. Raises ValueError for one that is not there."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    if accelerators.get("gpu_execution_accelerator"):
        raise ValueError("gpu_execution_accelerator: this stand-in runs on the CPU alone")
    chosen: list[tuple[str, dict[str, str]]] = []
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        name = PROVIDERS.get(accelerator["name"], "none")
        if name not in onnxruntime.get_available_providers():
            raise ValueError(
                f"execution accelerator '{accelerator['name']}' is not in the installed ONNX "
                f"Runtime, which has {', '.join(onnxruntime.get_available_providers())}; "
                "openvino needs pip install onnxruntime-openvino"
            )
        options = {"device_type": "CPU", **accelerator.get("parameters", {})}
        if threads:
            options.setdefault("num_of_threads", str(threads))
        chosen.append((name, options))
    return [*chosen, ("CPUExecutionProvider", {})]


def check(session, config: dict) -> None:
    """ValueError unless the graph has the names, element types and shapes of config.pbtxt."""
    for kind, ports in (("input", session.get_inputs()), ("output", session.get_outputs())):
        by_name = {port.name: port for port in ports}
        if kind == "input" and len(ports) != len(config[kind]):
            raise ValueError(
                f"unable to load model '{config['name']}', configuration expects "
                f"{len(config[kind])} inputs, model provides {len(ports)}"
            )
        for io in config[kind]:
            port = by_name.get(io["name"])
            if port is None:
                raise ValueError(
                    f"unable to load model '{config['name']}', unexpected inference {kind} "
                    f"'{io['name']}', allowed {kind}s are: {', '.join(sorted(by_name))}"
                )
            graph_type = TYPES.get(port.type, port.type.removeprefix("tensor(").removesuffix(")"))
            config_type = np.dtype(pb_utils.triton_string_to_numpy(io["data_type"])).name
            if graph_type != config_type:
                raise ValueError(
                    f"unable to load model '{config['name']}', tensor '{io['name']}': the graph "
                    f"has {graph_type}, config.pbtxt {config_type}"
                )
            dims = [int(size) for size in io.get("reshape", {}).get("shape", io["dims"])]
            dims = [-1, *dims] if config["max_batch_size"] else dims
            sizes = [size if isinstance(size, int) else -1 for size in port.shape]
            fits = len(sizes) == len(dims) and all(
                -1 in pair or pair[0] == pair[1] for pair in zip(sizes, dims, strict=True)
            )
            if not fits or (config["max_batch_size"] and sizes[0] != -1):
                raise ValueError(
                    f"unable to load model '{config['name']}', tensor '{io['name']}': the graph "
                    f"has shape {port.shape}, config.pbtxt {dims}"
                )


def load(model_dir: Path, version: str, config: dict):
    """The session, ready to run. Raises ValueError for what does not fit, with its path."""
    if onnxruntime is None:
        raise ValueError("ONNX Runtime is not installed: pip install onnxruntime-openvino")
    parameters = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
    texts = numbers(parameters)
    threads = texts.get("intra_op_thread_count", int(os.environ.get("COUNTERSIGN_THREADS", "0")))
    path = model_dir / version / (config["default_model_filename"] or "model.onnx")
    if not path.exists():
        raise ValueError(f"unable to find '{path}' for model '{config['name']}'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = texts.get("inter_op_thread_count", 0)
    if texts.get("execution_mode"):
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    chosen = providers(config, threads)
    try:
        session = onnxruntime.InferenceSession(path, options, chosen)
    except Exception as error:  # ONNX Runtime's own have no base of their own
        raise ValueError(f"unable to load '{path}': {error}") from error
    missing = {name for name, _ in chosen} - set(session.get_providers())
    if missing:  # ONNX Runtime says so on stderr alone, and goes on without it
        raise ValueError(f"unable to load '{path}': {', '.join(missing)} could not be started")
    check(session, config)
    return session


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        try:
            self.session = load(Path(args["model_repository"]), args["model_version"], config)
        except ValueError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.inputs = [io["name"] for io in config["input"]]
        self.outputs = [io["name"] for io in config["output"]]

    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response: the graph's outputs, or ONNX Runtime's reason."""
        try:
            inputs = [pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs]
            feed = {tensor.name(): tensor.as_numpy() for tensor in inputs}
            found = zip(self.outputs, self.session.run(self.outputs, feed), strict=True)
            return pb_utils.InferenceResponse([pb_utils.Tensor(name, x) for name, x in found])
        except Exception as error:  # ONNX Runtime's own have no base of their own
            return pb_utils.InferenceResponse([], pb_utils.TritonError(str(error)))
