"""Asks a running server what its samples show; `python server/readiness.py` exits 0 if it knows.

Only an inference tells health: a step whose process died keeps answering "ready". Standard library
only, so that a container's health check costs no import of a client.
"""

import argparse
import base64
import json
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


def check(http_url: str, timeout_s: float = 5) -> None:
    """Sends one sample through each ensemble of the server at `http_url` (host:port) that has one.

    Raises NotReady with the reason.
    """
    call(f"{http_url}/v2/health/ready", timeout_s)
    for ensemble, check_sample in (
        ("document_detector", _check_page),
        ("captcha_reader", _check_captcha),
    ):
        if _serves(http_url, ensemble, timeout_s):
            check_sample(http_url, timeout_s)


def _serves(http_url: str, model: str, timeout_s: float) -> bool:
    try:
        call(f"{http_url}/v2/models/{model}", timeout_s)
    except Unknown:
        return False
    return True


def _check_page(http_url: str, timeout_s: float) -> None:
    name, expected = next(iter(json.loads((SAMPLES / "pages.json").read_text()).items()))
    answer = _infer(http_url, "document_detector", name, timeout_s)
    flat = answer["boxes"]
    found = [(label, flat[4 * i : 4 * i + 4]) for i, label in enumerate(answer["labels"])]
    for box in expected["boxes"]:
        if not any(
            label == box["class"] and overlap(xyxy, box["xyxy"]) >= OVERLAP_MIN
            for label, xyxy in found
        ):
            raise NotReady(f"document_detector, {name}: no {box['class']} found at {box['xyxy']}")


def _check_captcha(http_url: str, timeout_s: float) -> None:
    name, expected = next(iter(json.loads((SAMPLES / "captchas.json").read_text()).items()))
    (text,) = _infer(http_url, "captcha_reader", name, timeout_s)["text"]
    if text != expected:
        raise NotReady(f"captcha_reader, {name}: read {text}, expected {expected}")


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two xyxy boxes, [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (areas - inter)


def _infer(http_url: str, ensemble: str, sample: str, timeout_s: float) -> dict[str, list]:
    """Each output's values, flat."""
    image = base64.b64encode((SAMPLES / sample).read_bytes()).decode()
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
    parser.add_argument("--timeout", type=float, default=5, help="seconds for each request")
    args = parser.parse_args()
    try:
        check(args.url, args.timeout)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
