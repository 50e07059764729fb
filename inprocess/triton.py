"""The part of Triton's Python API that this repository's steps and backends use.

They import it as `triton_python_backend_utils`; its names and behaviour are those of Triton's
python_backend. Nothing is copied on the way from one step to the next, but for what a backend sends
from a callback: that memory is used for the next request when the callback returns.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1
_NUMPY_TYPES = {
    "BOOL": np.bool_, "STRING": np.object_, "FP16": np.float16, "FP32": np.float32,
    "FP64": np.float64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
}  # fmt: skip


class TritonModelException(Exception):
    """A model that cannot be loaded, with the reason."""


class TritonError:
    """Why a request was refused (INVALID_ARG) or failed."""

    INTERNAL, INVALID_ARG = 1, 3  # some of its codes

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Metric:
    """A number that nobody reads in this process."""

    def increment(self, value: float) -> None:
        pass


class MetricFamily:
    """Metrics of one name."""

    COUNTER = 0  # one of its kinds

    def __init__(self, name: str, description: str, kind: int) -> None:
        pass

    def Metric(self, labels: Mapping[str, str]) -> Metric:  # noqa: N802
        return Metric()


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, np.ascontiguousarray(array)

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class InferenceResponse:
    """A request's tensors, or its error."""

    def __init__(self, output_tensors: Sequence[Tensor], error: TritonError | None = None) -> None:
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def error(self) -> TritonError | None:
        return self._error

    def has_error(self) -> bool:
        return self._error is not None


class ResponseSender:
    """Takes the response of a model that answers later, from any thread."""

    def __init__(self, response: "Future[InferenceResponse]") -> None:
        self._response = response

    def send(self, response: InferenceResponse, flags: int = 0) -> None:
        tensors = [
            Tensor(each.name(), each.as_numpy().copy()) for each in response.output_tensors()
        ]
        self._response.set_result(InferenceResponse(tensors, response.error()))

    def is_cancelled(self) -> bool:
        return False


class InferenceRequest:
    """What a step or backend is asked: tensors in, names of tensors out, parameters."""

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], parameters: Mapping[str, object]
    ) -> None:
        self._inputs, self._outputs = list(inputs), list(outputs)
        self._parameters = json.dumps(dict(parameters))
        self.response: Future[InferenceResponse] = Future()

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def parameters(self) -> str:
        return self._parameters

    def request_id(self) -> str:
        return ""

    def get_response_sender(self) -> ResponseSender:
        return ResponseSender(self.response)

    def is_cancelled(self) -> bool:
        return False


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    """The request's tensor of that name; None if it has none."""
    return next((tensor for tensor in request.inputs() if tensor.name() == name), None)


def triton_string_to_numpy(data_type: str) -> type:
    """TYPE_FP32 -> np.float32. KeyError for what numpy has no type of."""
    return _NUMPY_TYPES[data_type.removeprefix("TYPE_")]
