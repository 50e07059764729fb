"""Asks a running server what its samples show; `python server/readiness.py` exits 0 if it knows.

Only an inference tells health: a step whose process died keeps answering "ready". Standard library
only, so that a container's health check costs no import of a client.
"""

import argparse
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
OVERLAP_MIN = 0.5  # intersection over union at which a box counts as found


class NotReady(RuntimeError):
    """The server does not answer yet, or not what the samples show."""


class Unknown(NotReady):
    """The server has no such model."""


class Broken(NotReady):
    """A loaded model answers with a server error: it will not recover by itself."""


def check(http_url: str, samples: Path = SAMPLES, timeout_s: float = 5) -> None:
    """Sends one sample through each ensemble of the server at `http_url` (host:port) that has one.

    `samples` holds the files and what they show: pages.json and captchas.json, in the form of this
    project's own; an ensemble without its list is not asked. Raises NotReady with the reason.
    """
    call(f"{http_url}/v2/health/ready", timeout_s)
    for ensemble, answers, right in (
        ("document_detector", "pages.json", _boxes_found),
        ("captcha_reader", "captchas.json", _digits_read),
    ):
        if (samples / answers).exists() and _serves(http_url, ensemble, timeout_s):
            name, expected = next(iter(json.loads((samples / answers).read_text()).items()))
            answer = _infer(http_url, ensemble, samples / name, timeout_s)
            if reason := right(answer, expected):
                raise NotReady(f"{ensemble}, {name}: {reason}")


def _serves(http_url: str, model: str, timeout_s: float) -> bool:
    try:
        call(f"{http_url}/v2/models/{model}", timeout_s)
    except Unknown:
        return False
    return True


def _boxes_found(answer: dict[str, list], expected: dict) -> str:
    """What is missing on the page; nothing if all is found."""
    flat = answer["boxes"]
    found = [(label, flat[4 * i : 4 * i + 4]) for i, label in enumerate(answer["labels"])]
    for box in expected["boxes"]:
        if not any(
            label == box["class"] and overlap(xyxy, box["xyxy"]) >= OVERLAP_MIN
            for label, xyxy in found
        ):
            return f"no {box['class']} found at {box['xyxy']}"
    return ""


def _digits_read(answer: dict[str, list], expected: str) -> str:
    (text,) = answer["text"]
    return "" if text == expected else f"read {text}, expected {expected}"


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two xyxy boxes, [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (areas - inter)


def _infer(http_url: str, ensemble: str, sample: Path, timeout_s: float) -> dict[str, list]:
    """Each output's values, flat."""
    image = base64.b64encode(sample.read_bytes()).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}
    body = json.dumps({"inputs": [tensor]}).encode()
    answer = json.loads(call(f"{http_url}/v2/models/{ensemble}/infer", timeout_s, body))
    return {output["name"]: output["data"] for output in answer["outputs"]}


def call(
    url: str, timeout_s: float, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    """The answer of `url` (without http://), by POST if there is a body. Raises NotReady."""
    request = urllib.request.Request(f"http://{url}", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:
            return reply.read()
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace") or error.reason
        kind = {400: Unknown, 404: Unknown, 500: Broken}.get(error.code, NotReady)
        raise kind(f"{url}: HTTP {error.code} {reason}") from error
    except OSError as error:
        raise NotReady(f"{url}: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="127.0.0.1:8000", help="host:port of the HTTP endpoint")
    parser.add_argument(
        "--samples",
        type=Path,
        default=os.environ.get("COUNTERSIGN_SAMPLES", SAMPLES),
        help="folder of files and what they show: pages.json, captchas.json",
    )
    parser.add_argument("--timeout", type=float, default=5, help="seconds for each request")
    args = parser.parse_args()
    try:
        check(args.url, args.samples, args.timeout)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
