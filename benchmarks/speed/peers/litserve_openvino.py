"""A modern Python model server: LitServe on the served IR, with the served steps' functions.

python -m benchmarks.speed.peers.litserve_openvino --port 8100
"""

import argparse
import os

import litserve
from fastapi import Request

from benchmarks.in_process import detector_stages, newest_ir, openvino_model
from benchmarks.speed.limit import ONE_THREAD


class Detector(litserve.LitAPI):
    """One worker's model; LitServe calls these in the order of the file."""

    def setup(self, device) -> None:
        self.stages = detector_stages(openvino_model(newest_ir("document_yolo"), ONE_THREAD))

    def decode_request(self, request: Request):
        image = request["file"].file.read()
        return self.stages["preprocess"](self.stages["decode"](image))

    def predict(self, x):
        return self.stages["inference"](x)

    def encode_response(self, output) -> dict:
        found = self.stages["postprocess"](output)
        return {
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
            "labels": found.labels,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    workers = len(os.sched_getaffinity(0))  # each with one inference thread
    server = litserve.LitServer(Detector(), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=args.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
