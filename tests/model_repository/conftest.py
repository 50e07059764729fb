from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tritonclient.grpc

from server import Triton

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def ask(server: Triton) -> Iterator[Callable[..., Arrays]]:
    """`ask(image, ensemble="document_detector", **parameters)` -> its outputs by name."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as connection:

        def ask(image: bytes, ensemble: str = "document_detector", **parameters) -> Arrays:
            tensor = tritonclient.grpc.InferInput("image", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([image], np.object_))
            answer = connection.infer(ensemble, [tensor], parameters=parameters)
            names = [output.name for output in answer.get_response().outputs]
            return {name: answer.as_numpy(name) for name in names}

        yield ask
