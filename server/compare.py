"""Asks both versions of a roll-out what some clients asked, to compare their answers.

The front sends copies of requests to compare.sock, and drops those for which there is no place. A
client waits for none of this. One copy at a time is asked of both versions, then as long nothing.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Protocol

from server.question import HEAD, Question, question
from server.readiness import NotReady, Wrong, call
from server.sockets import Handler, listening

ANSWER_S = 10
OLD_S = 0.3  # after which it is known whether the client's own request ended a process
EVERY_S = 0.1  # between two questions, at least
ENOUGH = 2**16  # of a line, in bytes

Answer = dict[str, list]


class Refused(Exception):
    """The image or a parameter is wrong, says a version."""


class Failed(Exception):
    """A version gave no answer."""


def ask(url: str, asked: Question) -> tuple[Answer, float]:
    """The answer of the tritonserver at `url`, and the seconds that it took. Raises the above."""
    path, body, headers = asked.request()
    began = time.monotonic()
    try:
        reply = call(url, path, ANSWER_S, body, headers, refused=Wrong)
    except Wrong as error:
        raise Refused(error.said) from error
    except NotReady as error:
        raise Failed(error.said or str(error)) from error
    took_s = time.monotonic() - began
    return {output["name"]: output["data"] for output in json.loads(reply)["outputs"]}, took_s


class Comparing(Protocol):
    """Who wants to know of the pages."""

    def compare(self, asked: Question) -> None:
        """Asks both versions."""


class Copy(Handler):
    """A copy of a client's request; it is answered once there is a place for another."""

    timeout = 60
    comparing: Comparing
    turn: Lock
    done: Event

    def do_POST(self) -> None:  # noqa: N802
        came = time.monotonic()
        try:
            asked = question(self.path, self.headers.get(HEAD), self._body())
        except ValueError as error:
            return self.answer(400, str(error))
        with self.turn:
            self.done.wait(came + OLD_S - time.monotonic())
            began = time.monotonic()
            if not self.done.is_set():
                self.comparing.compare(asked)
            self.done.wait(max(EVERY_S, time.monotonic() - began))
        self.answer(200, "")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(ENOUGH).partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(ENOUGH)
        self.rfile.readline(ENOUGH)  # Envoy passes no trailers on
        return b"".join(parts)


@contextmanager
def answering(comparing: Comparing, folder: Path) -> Iterator[None]:
    """Takes copies at compare.sock in `folder`."""
    done = Event()
    parts = {"comparing": comparing, "turn": Lock(), "done": done}
    with listening(folder, "compare.sock", type("CopyOfRequest", (Copy,), parts)):
        try:
            yield
        finally:
            done.set()
