"""Asks a server for what is right until its input ends: python -m tests.reliability.witness URL

A line for each answer: when it was asked and how long that took, in seconds, and what was wrong. In
a process of its own, so that an attack's own work does not slow it down.
"""

import json
import os
import subprocess
import sys
import threading
import time

from countersign import Client, CountersignError
from server.settings import SAMPLES

CAPTCHA = SAMPLES / "captcha_plain.png"
DIGITS = json.loads((SAMPLES / "captchas.json").read_text())[CAPTCHA.name]
PAUSE_S = 0.02


class Witness:
    """A witness of a server, as a context manager."""

    def __init__(self, url: str):
        self._url = url
        self._seen: list[tuple[float, float, str]] = []

    def __enter__(self) -> "Witness":
        command = [sys.executable, "-m", "tests.reliability.witness", self._url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        while not self._seen and self._process.poll() is None:
            time.sleep(0.05)
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, took_s, wrong = json.loads(line)
            self._seen.append((at, took_s, wrong))

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._thread.join()

    def since(self, begin: float) -> tuple[list[float], list[str]]:
        """How long each answer took that was asked for since `begin`, and what was wrong."""
        asked = [(took_s, wrong) for at, took_s, wrong in self._seen if at >= begin]
        return [took_s for took_s, _ in asked], [wrong for _, wrong in asked if wrong]


def main() -> None:
    done = threading.Event()

    def wait() -> None:
        os.read(0, 1)
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    with Client(sys.argv[1]) as client:
        while not done.is_set():
            began, wrong = time.monotonic(), ""
            try:
                text = client.read(CAPTCHA, timeout_s=30).text
                wrong = "" if text == DIGITS else text
            except CountersignError as error:
                wrong = repr(error)
            print(json.dumps([began, time.monotonic() - began, wrong]), flush=True)
            done.wait(PAUSE_S)


if __name__ == "__main__":
    main()
