"""What a request asks, in whichever of its forms it came: its ensemble, image and parameters.

The front has looked at it (lua/look.lua) before: there is one image, and all is well formed.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.readiness import SAMPLE_ID

HEAD = "Inference-Header-Content-Length"
GRPC_PREFIX = 5  # bytes before a message: whether it is compressed, and its length
MODEL, PARAMETERS, INPUTS, RAW, CONTENTS, BYTES = 1, 4, 5, 7, 5, 8  # fields of a ModelInferRequest


@dataclass(frozen=True)
class Question:
    """An image for an ensemble, with the request's parameters."""

    ensemble: str
    image: bytes  # the bytes of a file, or their base64 text
    parameters: dict[str, Any]

    def request(self) -> tuple[str, bytes, dict[str, str]]:
        """Path, body and headers that ask tritonserver this over HTTP, answered in JSON.

        By its id document_postprocess knows that no user asks.
        """
        content = len(self.image).to_bytes(4, "little") + self.image
        size = {"binary_data_size": len(content)}
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
        asked = {"id": SAMPLE_ID, "inputs": [tensor], "parameters": self.parameters}
        head = json.dumps(asked).encode()
        headers = {HEAD: str(len(head)), "Content-Type": "application/octet-stream"}
        return f"/v2/models/{self.ensemble}/infer", head + content, headers


def question(path: str, head_size: str | None, body: bytes) -> Question:
    """What a request to `path` asks; `head_size` is its header HEAD. ValueError if that is none."""
    try:
        if path.startswith("/inference."):
            return of_grpc(body[GRPC_PREFIX:])
        ensemble = path.split("/")[3]
        if path.endswith("/generate"):
            told = json.loads(body)
            return Question(ensemble, text(told["image"]), told.get("parameters") or {})
        if head_size == "0":
            return Question(ensemble, body, {})
        size = len(body) if head_size is None else int(head_size)
        told = json.loads(body[:size])
        image = body[size + 4 :] if size < len(body) else text(told["inputs"][0]["data"])
        given = told.get("parameters") or {}
        return Question(ensemble, image, {k: v for k, v in given.items() if "binary" not in k})
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {len(body)} bytes, no question") from error


def text(value: Any) -> bytes:
    """The one string in `value`, which may stand in lists."""
    while isinstance(value, list):
        (value,) = value
    return value.encode()


def of_grpc(message: bytes) -> Question:
    """What a ModelInferRequest asks."""
    ensemble, image, parameters = "", b"", {}
    for number, value in fields(message):
        if number == MODEL:
            ensemble = value.decode()
        elif number == RAW:
            image = value[4:]
        elif number == PARAMETERS:
            entry = dict(fields(value))
            parameters[entry[1].decode()] = parameter(entry.get(2, b""))
        elif number == INPUTS:
            for inner, contents in fields(value):
                if inner == CONTENTS:
                    image = dict(fields(contents))[BYTES]
    return Question(ensemble, image, parameters)


def parameter(message: bytes) -> Any:
    """The value of an InferParameter: bool, int64, string, double or uint64, in this order."""
    ((number, value),) = fields(message)
    if number == 1:
        return bool(value)
    if number == 2:
        return value - (value >> 63 << 64)
    if number == 3:
        return value.decode()
    return struct.unpack("<d", value)[0] if number == 4 else value


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: an int, or the bytes of the others."""
    at = 0

    def varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            value |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 128:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
        else:
            size = {1: 8, 5: 4}.get(wire) or varint()
            yield number, message[at : at + size]
            at += size
