"""Asks a running server what its samples show; `python -m server ready` exits 0 if it knows.

Only an inference tells health: a step whose process died keeps answering "ready". Standard library
only, so that a container's health check costs no import of a client; no proxy of the environment
is asked, since the server is this machine's own.
"""

import argparse
import base64
import http.client
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from server.repository import DETECTOR, READER, ensembles
from server.settings import SAMPLES, Settings

OVERLAP_MIN = 0.5  # intersection over union at which a box counts as found
LISTS = {DETECTOR: "pages.json", READER: "captchas.json"}
FORMS = {  # of those lists, for who writes one
    "pages.json": '{"a.png": {"boxes": [{"class": "stamp", "xyxy": [x0, y0, x1, y1]}]}}',
    "captchas.json": '{"a.png": "482913"}',
}
FOLDER = "countersign-"  # how the name of a server's temporary folder begins
SHIPPED = {"document_detector", "captcha_reader"}  # those whose answers the samples show


class NotReady(RuntimeError):
    """The server does not answer yet."""


class Broken(NotReady):
    """A loaded model answers with a server error: it will not recover by itself."""


class Wrong(NotReady):
    """A model's answer is not what the sample shows, and will not change."""


def check(
    url: str,
    repository: Path = Settings.repository,
    samples: Path = SAMPLES,
    timeout_s: float = 5,
) -> None:
    """Sends a sample through each ensemble in `repository` of the server at `url`.

    `url` is host:port, or unix: and a socket's path. `samples` holds the files and what they show:
    pages.json and captchas.json, in the form of this project's own. document_detector and
    captcha_reader must give the first one's answer; where the list is missing, and of other
    ensembles, any answer will do. Raises NotReady with the reason.
    """
    call(url, "/v2/health/ready", timeout_s)
    for name, kind in ensembles(repository).items():
        call(url, f"/v2/models/{name}/ready", timeout_s)
        if kind not in LISTS:
            continue
        answered = name in SHIPPED and (samples / LISTS[kind]).exists()
        folder = samples if answered else SAMPLES
        sample, image, expected = first_sample(folder / LISTS[kind])
        answer = infer(url, name, image, timeout_s)
        reason = malformed(kind, answer)
        if answered and not reason:
            reason = boxes_missing(answer, expected) if kind == DETECTOR else misread(
                answer, expected
            )  # fmt: skip
        if reason:
            raise Wrong(
                f"{name}, {sample}: {reason}; models of your own need samples of their own, "
                "which --samples names"
            )


def malformed(kind: str, answer: dict[str, list]) -> str:
    """What an answer lacks, nothing if it has the form of its kind."""
    needed = ("boxes", "scores", "labels") if kind == DETECTOR else ("text", "digit_confidence")
    if missing := [name for name in needed if name not in answer]:
        return f"no output {', '.join(missing)}"
    if kind == DETECTOR:
        boxes, scores, labels = (len(answer[name]) for name in needed)
        if not boxes == 4 * scores == 4 * labels:
            return f"{boxes} numbers in boxes, {scores} scores, {labels} labels"
    return ""


def boxes_missing(answer: dict[str, list], expected: dict) -> str:
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


def misread(answer: dict[str, list], expected: str) -> str:
    """What was read, nothing if it is what was expected."""
    (text,) = answer["text"]
    return "" if text == expected else f"read {text}, expected {expected}"


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two xyxy boxes, [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (areas - inter)


def first_sample(listed: Path) -> tuple[str, bytes, Any]:
    """The first file in pages.json or captchas.json: its name, its bytes, and what it shows.

    Raises Wrong, with the form of such a list, if there is none.
    """
    try:
        sample, expected = next(iter(json.loads(listed.read_text()).items()))
        if listed.name == LISTS[DETECTOR]:
            for box in expected["boxes"]:
                overlap(box["xyxy"], box["xyxy"])
        elif not isinstance(expected, str):
            raise TypeError(f"{expected!r} is no text")
        return sample, (listed.parent / sample).read_bytes(), expected
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise Wrong(
            f"{listed}: {type(error).__name__} {error}; expected {FORMS[listed.name]}"
        ) from error


def infer(url: str, ensemble: str, image: bytes, timeout_s: float) -> dict[str, list]:
    """Each output's values, flat. Raises NotReady."""
    text = base64.b64encode(image).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    body = json.dumps({"inputs": [tensor]}).encode()
    path = f"/v2/models/{ensemble}/infer"
    answer = json.loads(call(url, path, timeout_s, body, refused=Wrong))
    return {output["name"]: output["data"] for output in answer["outputs"]}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the socket of a path."""

    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def call(
    url: str,
    path: str,
    timeout_s: float,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    refused: type[NotReady] = NotReady,
) -> bytes:
    """The answer of `path` at `url`, by POST if there is a body.

    Raises Broken for a server's error, `refused` for HTTP 400, else NotReady.
    """
    connection = (
        UnixConnection(url.removeprefix("unix:"), timeout_s)
        if url.startswith("unix:")
        else http.client.HTTPConnection(url, timeout=timeout_s)
    )
    sent = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.request("GET" if body is None else "POST", path, body, sent | (headers or {}))
        reply = connection.getresponse()
        content = reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"{url}{path}: {error}") from error
    finally:
        connection.close()
    if reply.status == 200:
        return content
    reason = content.decode(errors="replace") or reply.reason
    kind = {400: refused, 500: Broken}.get(reply.status, NotReady)
    raise kind(f"{url}{path}: HTTP {reply.status} {reason}")


def sockets() -> list[str]:
    """tritonserver's sockets of this user's running servers. Raises NotReady if there are none."""
    try:
        temporary = gettempdir()
    except OSError as error:
        raise NotReady(f"temporary folder: {error}; TMPDIR names another") from error
    folders = [path.parent for path in Path(temporary).glob(f"{FOLDER}*/http.sock")]
    if not (owned := [folder for folder in folders if folder.stat().st_uid == os.getuid()]):
        raise NotReady(f"no server of this user has its sockets in {temporary}")
    for folder in owned:
        call(f"unix:{folder}/admin.sock", "/ready", 5)
    return [f"unix:{folder}/http.sock" for folder in owned]


def main(argv: Sequence[str] | None = None) -> int:
    """Asks the server that the arguments name. Exit status 0 if it is ready."""
    parser = argparse.ArgumentParser(prog="python -m server ready", description=__doc__)
    parser.add_argument(
        "--url", help="host:port of the HTTP endpoint; unless given, sockets of this user's servers"
    )
    for name, what in (
        ("repository", "the server's, whose ensembles are asked"),
        ("samples", "folder of files and what they show: pages.json, captchas.json"),
    ):
        default = os.environ.get(f"COUNTERSIGN_{name.upper()}", getattr(Settings, name))
        parser.add_argument(f"--{name}", type=Path, default=default, help=what)
    parser.add_argument("--timeout", type=float, default=5, help="seconds for each request")
    args = parser.parse_args(argv)
    try:
        for url in [args.url] if args.url else sockets():
            check(url, args.repository, args.samples, args.timeout)
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0
