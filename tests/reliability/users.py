"""Asks a server pages and CAPTCHAs until its input ends, as users with the project's client do.

    python -m tests.reliability.users --http HOST:PORT --grpc HOST:PORT --users N

Prints a line of JSON for each answer: when it was asked for, how long that took, how often the
client asked again, what was wrong with the answer, and why there was none. In a process of its own,
so that who watches does not slow it down.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from countersign import Client, CountersignError
from server.readiness import overlap
from server.settings import SAMPLES

PAGE, CAPTCHA = SAMPLES / "page_150dpi.jpg", SAMPLES / "captcha_plain.png"
BOXES = json.loads((SAMPLES / "pages.json").read_text())[PAGE.name]["boxes"]
DIGITS = json.loads((SAMPLES / "captchas.json").read_text())[CAPTCHA.name]
TIMEOUT_S = 30
PAUSE_S = 0.02


@dataclass(frozen=True)
class Answer:
    at: float  # by time.monotonic, which all processes share
    took_s: float
    retries: int
    wrong: str = ""
    lost: str = ""


class Users:
    """Users of a server, as a context manager; those of --no-pages read CAPTCHAs alone."""

    def __init__(self, http_url: str, grpc_url: str, users: int, pages: bool = True) -> None:
        self._command = [sys.executable, "-m", "tests.reliability.users", "--http", http_url]
        self._command += ["--grpc", grpc_url, "--users", str(users)]
        self._command += [] if pages else ["--no-pages"]
        self.answers: list[Answer] = []

    def __enter__(self) -> "Users":
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        while not self.answers and self._process.poll() is None:
            time.sleep(0.05)
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.answers.append(Answer(**json.loads(line)))

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Waits for the answers that are under way."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
            self._process.wait()
            self._thread.join()


class Retries(logging.Handler):
    """Counts the attempts that the client's log tells of, of each thread."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        self.mine.count = getattr(self.mine, "count", 0) + 1

    def taken(self) -> int:
        """Those of this thread since the last time."""
        count, self.mine.count = getattr(self.mine, "count", 0), 0
        return count


def read(client: Client) -> str:
    """What is wrong with the answer to a CAPTCHA."""
    text = client.read(CAPTCHA, timeout_s=TIMEOUT_S).text
    return "" if text == DIGITS else f"read {text}"


def detect(client: Client) -> str:
    """What is wrong with the answer to a page."""
    found = list(client.detect(PAGE, timeout_s=TIMEOUT_S))
    missing = [
        box["class"]
        for box in BOXES
        if not any(
            one.label == box["class"] and overlap(one.box, box["xyxy"]) > 0.5 for one in found
        )
    ]
    return f"no {', '.join(missing)} found" if missing or len(found) != len(BOXES) else ""


def use(client: Client, asks: list[Callable[[Client], str]], retries: Retries) -> Answer:
    began, wrong, lost = time.monotonic(), "", ""
    try:
        wrong = asks[0](client)
    except CountersignError as error:
        lost = repr(error)
    asks.append(asks.pop(0))
    return Answer(began, time.monotonic() - began, retries.taken(), wrong, lost)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", required=True)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--no-pages", action="store_true")
    args = parser.parse_args()
    retries, done = Retries(), threading.Event()
    logging.getLogger("countersign").setLevel(logging.INFO)
    logging.getLogger("countersign").addHandler(retries)

    def live(number: int) -> None:
        protocol = ("grpc", "http")[number % 2]
        asks = [read] if args.no_pages else [read, detect]
        with Client(getattr(args, protocol), protocol=protocol) as client:
            while not done.wait(PAUSE_S):
                answer = json.dumps(asdict(use(client, asks, retries)))
                print(answer + "\n", end="", flush=True)  # in one piece, as others print too

    threads = [threading.Thread(target=live, args=[number]) for number in range(args.users)]
    for thread in threads:
        thread.start()
    os.read(0, 1)
    done.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
