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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from server.folder import PREFIX
from server.repository import DETECTOR, READER, ensembles, steps
from server.settings import SAMPLES, ServerError, Settings

OVERLAP_MIN = 0.5  # intersection over union at which a box counts as found
REPOSITORY = "repository"  # a link in a server's folder, to what it serves
LISTS = {DETECTOR: "pages.json", READER: "captchas.json"}
OUTPUTS = {
    DETECTOR: ("boxes", "scores", "labels"),
    READER: ("text", "digit_confidence", "certain", "threshold"),  # old repositories lack the last
}
SAMPLE_ID = "countersign-sample"  # by which document_postprocess knows that no user asks
FORMS = {  # of those lists, for who writes one
    "pages.json": '{"a.png": {"boxes": [{"class": "stamp", "xyxy": [x0, y0, x1, y1]}]}}',
    "captchas.json": '{"a.png": "482913"}',
}
SHIPPED = {"document_detector", "captcha_reader"}  # those whose answers the samples show


class NotReady(RuntimeError):
    """The server does not answer yet."""

    ensemble = ""  # that was asked, if one was
    said = ""  # the server's own words, if it has any


class Broken(NotReady):
    """A loaded model answers with a server error: it will not recover by itself."""


class Wrong(NotReady):
    """A model's answer is not what the sample shows, and will not change."""


@dataclass(frozen=True)
class Golden:
    """A sample that an ensemble is asked, and what its answer must show."""

    ensemble: str
    kind: str  # of ensemble
    steps: tuple[str, ...]  # the models that the ensemble has
    sample: str = ""  # the file's name, "" where no sample is of the ensemble's kind
    body: bytes = b""  # the request
    expected: Any = None  # a page's boxes or a CAPTCHA's text; None where any answer will do

    def ask(self, url: str, timeout_s: float) -> None:
        """Asks the server at `url`, host:port, or unix: and a socket's path. Raises NotReady."""
        with named(self.ensemble):
            call(url, f"/v2/models/{self.ensemble}/ready", timeout_s)
            if not self.sample:
                return
            path = f"/v2/models/{self.ensemble}/infer"
            outputs = json.loads(call(url, path, timeout_s, self.body, refused=Wrong))["outputs"]
            if reason := self.fault({output["name"]: output["data"] for output in outputs}):
                raise Wrong(
                    f"{self.ensemble}, {self.sample}: {reason}; models of your own need samples of "
                    "their own, which --samples names"
                )

    def fault(self, answer: dict[str, list]) -> str:
        """What is wrong with an answer, each output's values being flat; "" if nothing is."""
        if reason := malformed(self.kind, answer):
            return reason
        if self.expected is None:
            return ""
        missing = boxes_missing if self.kind == DETECTOR else misread
        return missing(answer, self.expected)


@contextmanager
def named(ensemble: str) -> Iterator[None]:
    """Has what is raised tell the ensemble."""
    try:
        yield
    except NotReady as error:
        error.ensemble = ensemble
        raise


def goldens(repository: Path, samples: Path) -> tuple[Golden, ...]:
    """One for each ensemble in `repository`.

    `samples` holds files and what they show: pages.json and captchas.json, in the form of this
    project's own. document_detector and captcha_reader must give the first one's answer; where
    the list is missing, and of other ensembles, any answer will do.
    """
    found = []
    for name, kind in ensembles(repository).items():
        golden = Golden(name, kind, steps(repository, name))
        if kind in LISTS:
            answered = name in SHIPPED and (samples / LISTS[kind]).exists()
            folder = samples if answered else SAMPLES
            sample, image, expected = first_sample(folder / LISTS[kind])
            text = base64.b64encode(image).decode()
            tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
            body = json.dumps({"id": SAMPLE_ID, "inputs": [tensor]}).encode()
            golden = Golden(name, kind, golden.steps, sample, body, expected if answered else None)
        found.append(golden)
    return tuple(found)


def check(url: str, asked: Sequence[Golden], timeout_s: float = 5) -> None:
    """Asks the server at `url` whether it is there, and every golden. Raises NotReady."""
    call(url, "/v2/health/ready", timeout_s)
    for golden in asked:
        golden.ask(url, timeout_s)


def finished(url: str, models: Sequence[str], timeout_s: float = 5) -> dict[str, int]:
    """How many inferences each of `models` has ended since it was loaded. Raises NotReady."""
    found = json.loads(call(url, "/v2/models/stats", timeout_s))["model_stats"]
    return {
        each["name"]: sum(each["inference_stats"][end]["count"] for end in ("success", "fail"))
        for each in found
        if each["name"] in models
    }


def malformed(kind: str, answer: dict[str, list]) -> str:
    """What an answer lacks, nothing if it has the form of its kind."""
    if missing := [name for name in OUTPUTS[kind] if name not in answer]:
        return f"no output {', '.join(missing)}"
    if kind == DETECTOR:
        boxes, scores, labels = (len(answer[name]) for name in OUTPUTS[kind])
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
    reason = words(content) or reply.reason
    kind = {400: refused, 500: Broken}.get(reply.status, NotReady)
    failure = kind(f"{url}{path}: HTTP {reply.status} {reason}")
    failure.said = reason
    raise failure


def words(content: bytes) -> str:
    """What the body of an error says, in a line, without the places in a step's code."""
    text = content.decode(errors="replace")
    with suppress(ValueError, LookupError, TypeError):
        text = json.loads(text)["error"]
    return " ".join(text.partition("\n\nAt:")[0].split())


def servers() -> list[Path]:
    """The folders of this user's running servers. Raises NotReady if there are none."""
    try:
        temporary = gettempdir()
    except OSError as error:
        raise NotReady(f"temporary folder: {error}; TMPDIR names another") from error
    folders = [path.parent for path in Path(temporary).glob(f"{PREFIX}*/admin.sock")]
    if not (owned := [folder for folder in folders if folder.stat().st_uid == os.getuid()]):
        raise NotReady(f"no server of this user has its sockets in {temporary}")
    return owned


def unix(folder: Path, socket_name: str) -> str:
    """The URL of a socket in `folder`, whose path may be longer than a socket's may be."""
    return f"unix:/proc/self/fd/{os.open(folder, os.O_PATH)}/{socket_name}"


def check_server(folder: Path, asked: Sequence[Golden], timeout_s: float) -> None:
    """Asks the front of the server in `folder`, and its replicas until one is well.

    Raises NotReady, as the last replica gave it, if none is.
    """
    call(unix(folder, "admin.sock"), "/ready", timeout_s)
    failure = NotReady(f"{folder} has no replica")
    for replica in sorted(folder.glob("*/http.sock"), reverse=True):
        try:
            return check(unix(replica.parent, replica.name), asked, timeout_s)
        except NotReady as error:
            failure = error
    raise failure


def main(argv: Sequence[str] | None = None) -> int:
    """Asks the server that the arguments name. Exit status 0 if it is ready."""
    parser = argparse.ArgumentParser(prog="python -m server ready", description=__doc__)
    parser.add_argument(
        "--url", help="host:port of the HTTP endpoint; unless given, sockets of this user's servers"
    )
    for name, what in (
        ("repository", "that of the server at --url, whose ensembles are asked"),
        ("samples", "folder of files and what they show: pages.json, captchas.json"),
    ):
        default = os.environ.get(f"COUNTERSIGN_{name.upper()}", getattr(Settings, name))
        parser.add_argument(f"--{name}", type=Path, default=default, help=what)
    parser.add_argument("--timeout", type=float, default=5, help="seconds for each request")
    args = parser.parse_args(argv)
    try:
        if args.url:
            check(args.url, goldens(args.repository, args.samples), args.timeout)
        else:
            for folder in servers():
                asked = goldens(folder / REPOSITORY, args.samples)
                check_server(folder, asked, args.timeout)
    except (NotReady, ServerError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
