"""Stand-in for Triton's native OpenVINO backend, for a Triton that has only the Python backend.

It reads the same config.pbtxt and files as the native one, takes the same `parameters` and
refuses the same models, so that a repository loads unchanged under either. It differs in four
ways. Instances are processes here, so each compiles its share of the streams and threads; one
instance is enough to use them all, since requests run asynchronously. A request that comes alone
gets all threads; where neither PERFORMANCE_HINT nor NUM_STREAMS is set, the model is compiled once
more when two come together, for streams of a thread or few, which answer a quarter more of them. A
missing or corrupt file fails that model's load alone; the native backend of Triton 24.10 takes the
server down. Inputs and outputs left out of config.pbtxt are not filled in.

Parameters, after openvino_backend's src/openvino.cc; values in any case, unknown keys ignored:
  PERFORMANCE_HINT        LATENCY (OpenVINO's default), THROUGHPUT or CUMULATIVE_THROUGHPUT
  NUM_STREAMS             AUTO, NUMA or how many requests run at once
  INFERENCE_NUM_THREADS   a number; 0 is every core
  HINT_BF16               YES
  ENABLE_BATCH_PADDING, RESHAPE_IO_LAYERS, SKIP_OV_DYNAMIC_BATCHSIZE   YES; the last has no effect
  CPU_EXTENSION_PATH      a shared library
  TARGET_DEVICE           CPU
"""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # sends no usage data

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils
from openvino.preprocess import PrePostProcessor

CHOICES = {
    "PERFORMANCE_HINT": ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT"),
    "HINT_BF16": ("YES",),
    "NUM_STREAMS": ("AUTO", "NUMA"),  # or a number
    "INFERENCE_NUM_THREADS": (),  # a number
    "TARGET_DEVICE": ("CPU",),
}
NUMBERS = ("NUM_STREAMS", "INFERENCE_NUM_THREADS")


def properties(parameters: dict[str, str]) -> dict[str, str]:
    """config.pbtxt parameters -> OpenVINO properties. Raises ValueError for a value not known."""
    chosen = {key: parameters[key].upper() for key in CHOICES if parameters.get(key)}
    for key, value in chosen.items():
        if value not in CHOICES[key] and not (key in NUMBERS and value.isdigit()):
            known = "/".join(CHOICES[key] + ("a non-negative number",) * (key in NUMBERS))
            raise ValueError(f"expected the parameter '{key}' to be {known}, got {value}")
    if parameters.get("COMPILATION_NUM_THREADS"):
        raise ValueError("the parameter 'COMPILATION_NUM_THREADS' is refused by OpenVINO's CPU")
    chosen.pop("TARGET_DEVICE", None)
    if chosen.pop("HINT_BF16", None):
        chosen["INFERENCE_PRECISION_HINT"] = "bf16"
    return chosen


def share(settings: dict[str, str], instance: int, instances: int) -> dict[str, str]:
    """The part of a model's streams and threads that falls to one of its instances."""
    if instances == 1:
        return settings
    threads = int(settings.get("INFERENCE_NUM_THREADS", 0)) or len(os.sched_getaffinity(0))
    totals = {"INFERENCE_NUM_THREADS": threads}
    if settings.get("NUM_STREAMS", "").isdigit():
        totals["NUM_STREAMS"] = int(settings["NUM_STREAMS"])
    parts = {k: n // instances + (instance < n % instances) for k, n in totals.items()}
    return settings | {key: str(max(1, part)) for key, part in parts.items()}


def fit(model: ov.Model, config: dict, reshape: bool) -> ov.Model:
    """The graph with config.pbtxt's element types and batch size.

    Raises ValueError where the graph's names, number of inputs or shapes are not the config's.
    """
    name, batch = config["name"], config["max_batch_size"]
    if len(model.inputs) != len(config["input"]):
        raise ValueError(
            f"unable to load model '{name}', configuration expects {len(config['input'])} inputs, "
            f"model provides {len(model.inputs)}"
        )
    steps = PrePostProcessor(model)
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        by_name = {tensor: port for port in ports for tensor in port.get_names()}
        for io in config[kind]:
            port = by_name.get(io["name"])
            if port is None:
                raise ValueError(
                    f"unable to load model '{name}', Port for tensor name {io['name']} was not "
                    f"found, the graph's {kind}s are {sorted(by_name)}"
                )
            dims = [int(size) for size in io.get("reshape", {}).get("shape", io["dims"])]
            tensor = getattr(steps, kind)(io["name"]).tensor()
            tensor.set_element_type(element_type(io["data_type"]))
            if kind == "input" and batch:
                tensor.set_layout(ov.Layout("N..."))
            if kind == "input" and reshape:
                tensor.set_shape(ov.PartialShape(([batch] if batch else []) + dims))
            elif not agrees(port.partial_shape, dims, batch, exactly=kind == "output"):
                raise ValueError(
                    f"unable to load model '{name}', tensor '{io['name']}': the graph has shape "
                    f"{port.partial_shape}, config.pbtxt dims {dims}, max_batch_size {batch}"
                )
    model = steps.build()
    if batch:
        ov.set_batch(model, batch)
    return model


def agrees(shape: ov.PartialShape, dims: list[int], batch: int, exactly: bool) -> bool:
    """Whether a config's dims (-1 is any) may stand for a graph's shape; `exactly`: -1 for -1."""
    if shape.rank.is_dynamic:
        return True
    graph = [-1 if size.is_dynamic else size.get_length() for size in shape]
    graph = graph[1:] if batch else graph
    if len(graph) != len(dims):
        return False
    return all(
        g == d or g == -1 or (d == -1 and not exactly) for g, d in zip(graph, dims, strict=True)
    )


def element_type(data_type: str) -> ov.Type:
    """TYPE_FP32 -> ov.Type.f32. Raises ValueError for types that OpenVINO has no tensor of."""
    if data_type == "TYPE_BF16":
        return ov.Type.bf16
    try:
        return ov.Type(np.dtype(pb_utils.triton_string_to_numpy(data_type)))
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"unsupported datatype {data_type}") from error


Compile = Callable[[], ov.CompiledModel]


def load(
    model_dir: Path, version: str, config: dict, instance: str
) -> tuple[ov.CompiledModel, Compile | None]:
    """The model, ready to run, and what compiles it for requests that come together.

    That is None where the model says itself how to run. `instance` is Triton's name for it, which
    ends in its number.
    Raises ValueError for a parameter, file or graph that does not fit, with its path.
    """
    parameters = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
    settings = properties(parameters)
    path = model_dir / version / (config["default_model_filename"] or "model.xml")
    if not path.exists():
        raise ValueError(f"unable to find '{path}' for model '{config['name']}'")
    instances = sum(group["count"] for group in config["instance_group"])
    settings.setdefault("INFERENCE_NUM_THREADS", os.environ.get("COUNTERSIGN_THREADS", "0"))
    if precision := os.environ.get("COUNTERSIGN_PRECISION"):  # the server's option
        settings.setdefault("INFERENCE_PRECISION_HINT", precision)
    settings = share(settings, int(instance.rpartition("_")[2]), instances)
    # several processes would pin their threads to the same cores (openvino issue 37838)
    settings["ENABLE_CPU_PINNING"] = "NO"
    core = ov.Core()
    try:
        if extension := parameters.get("CPU_EXTENSION_PATH"):
            core.add_extension(extension)
        graph = core.read_model(path)
        graph = fit(graph, config, parameters.get("RESHAPE_IO_LAYERS", "").upper() == "YES")
        shared = settings | {"PERFORMANCE_HINT": "THROUGHPUT"}
        planned = settings.keys() & {"PERFORMANCE_HINT", "NUM_STREAMS"}
        compile_shared = None if planned else partial(core.compile_model, graph, "CPU", shared)
        return core.compile_model(graph, "CPU", settings), compile_shared
    except RuntimeError as error:  # OpenVINO's own
        raise ValueError(f"unable to load '{path}': {error}") from error


class Runner:
    """Runs as many requests at once as a compiled model has streams."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.threads = ThreadPoolExecutor(count)
        self.idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(count):
            self.idle.put(compiled.create_infer_request())

    def start(self, work: Callable[[ov.InferRequest], None]) -> None:
        """Waits for a stream that is idle, and returns once it is at work."""
        self.threads.submit(self._run, self.idle.get(), work)

    def _run(self, infer: ov.InferRequest, work: Callable[[ov.InferRequest], None]) -> None:
        try:
            work(infer)
        finally:
            self.idle.put(infer)


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        try:
            compiled, compile_shared = load(
                Path(args["model_repository"]),
                args["model_version"],
                config,
                args["model_instance_name"],
            )
        except ValueError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self.inputs = [io["name"] for io in config["input"]]
        self.outputs = [io["name"] for io in config["output"]]
        self.batch = config["max_batch_size"]
        padding = config.get("parameters", {}).get("ENABLE_BATCH_PADDING", {})
        self.pads = padding.get("string_value", "").upper() == "YES"
        self.alone = self.together = Runner(compiled)
        self.compile_shared, self.preparing = compile_shared, None
        self.under_way = 0  # requests
        self.counting = Lock()

    def execute(self, requests):
        """Starts each request and returns: its response is sent when it is ready."""
        for request in requests:
            runner = self.alone if self.count(1) == 1 else self.shared()
            runner.start(partial(self.answer, request, request.get_response_sender()))

    def shared(self) -> Runner:
        """For requests that come together: the only runner until the other is compiled."""
        if self.compile_shared:
            self.preparing = Thread(target=self.prepare, args=[self.compile_shared])
            self.preparing.start()
            self.compile_shared = None
        return self.together

    def prepare(self, compile_shared: Compile) -> None:
        self.together = Runner(compile_shared())

    def count(self, change: int) -> int:
        """How many requests are under way after one more or less."""
        with self.counting:
            self.under_way += change
            return self.under_way

    def answer(self, request, sender, infer: ov.InferRequest) -> None:
        """Sends the request's response: the graph's outputs, or why there are none."""
        try:
            feed, rows = self.feed(request)
            infer.infer(feed, share_inputs=True)
            found = {name: infer.get_tensor(name).data for name in self.outputs}
            tensors = [
                pb_utils.Tensor(name, data[:rows] if self.batch else data)
                for name, data in found.items()
            ]
            response = pb_utils.InferenceResponse(tensors)
        except Exception as error:  # whatever it is, somebody waits for an answer
            response = pb_utils.InferenceResponse([], pb_utils.TritonError(str(error)))
        self.count(-1)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def feed(self, request) -> tuple[dict[str, np.ndarray], int]:
        """The request's tensors, views of shared memory, and the rows of them that count."""
        feed = {n: pb_utils.get_input_tensor_by_name(request, n).as_numpy() for n in self.inputs}
        rows = len(feed[self.inputs[0]])
        if not self.batch or rows == self.batch:
            return feed, rows
        if not self.pads:
            raise ValueError(
                f"expected requests with batch size '{self.batch}', got '{rows}'... this error can "
                "be avoided by setting 'ENABLE_BATCH_PADDING' parameter in model configuration to "
                "'YES' at a performance cost."
            )
        full = {
            name: np.concatenate([x, np.zeros((self.batch - rows, *x.shape[1:]), x.dtype)])
            for name, x in feed.items()
        }
        return full, rows

    def finalize(self):
        """Ends once all requests under way are answered."""
        if self.preparing:
            self.preparing.join()
        self.alone.threads.shutdown()
        self.together.threads.shutdown()
