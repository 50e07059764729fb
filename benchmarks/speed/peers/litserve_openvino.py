"""A modern Python model server: LitServe on the served IR and steps.

python -m benchmarks.speed.peers.litserve_openvino --port 8100
"""

import argparse
import os

import litserve
import numpy as np
from fastapi import Request

from inprocess import Detector as InProcess
from server import Settings


class Detector(litserve.LitAPI):
    """One worker's model; LitServe calls these in the order of the file."""

    def setup(self, device) -> None:
        steps = InProcess(Settings().repository, threads=1).ensemble.steps
        self.preprocess, self.graph, self.postprocess = steps.values()

    def decode_request(self, request: Request):
        tensors = {"image": np.array([request["file"].file.read()], np.object_)}
        return tensors | self.preprocess(tensors, {})

    def predict(self, x):
        return x | self.graph(x, {})

    def encode_response(self, output) -> dict:
        found = self.postprocess(output, {})
        return {name: found[name].tolist() for name in ("boxes", "scores", "labels")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    workers = len(os.sched_getaffinity(0))  # each with one inference thread
    server = litserve.LitServer(Detector(), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=args.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
