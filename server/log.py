"""What a process of the server writes: what matters is passed on, and why it failed remembered."""

import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Writes a line to stdout or `stream`, whole, whoever writes beside; nobody need read it.

    What a process writes as it is killed may lack its end, which would take the next line in.
    """
    with suppress(OSError, ValueError):  # it was closed
        print(line.removesuffix("\n") + "\n", end="", file=stream or sys.stdout, flush=True)


def warn(text: str) -> None:
    """Writes a line to stderr, as tritonserver and Envoy write theirs."""
    say(f"W {text}", sys.stderr)


def plain(why: str) -> str:
    """Triton's reason without its codes, its names of exceptions and the places in its code."""
    why = re.split(r"(?:\\n)+At:\\n", why.strip().strip('"'))[0]
    why = re.sub(r"\b(Internal|Invalid argument|TritonModelException): ", "", why)
    why = re.sub(r"Exception from src/\S+:\s*", "", why.replace(r"\n", " ").replace(r"\"", '"'))
    return " ".join(why.split())


class Log:
    """tritonserver's output: forwards what matters to stderr, remembers why a model failed.

    All of it is read to its end, whoever reads stderr, else tritonserver would stand still.
    """

    # a CPU server has no GPU, which Triton reports as errors; that Envoy is told to stop is no
    # news; OpenVINO tries a corrupt file in all of its formats; the rest is in failure()
    NOISE = re.compile(
        r"CudaDriverHelper|CUDA driver|NVML|DCGM|pinned|GPU|depends on|ENVOY_SIGTERM|cannot bind"
        r"|Failed to create instance|absl::InitializeLog|text_format\.cc"
    )
    FAILED = re.compile(
        r"(?:failed to load '(?P<version>[^']+)' version \d+"
        r"|failed to load model '(?P<model>[^']+)'"
        r"|Poll failed for model directory '(?P<folder>[^']+)'): (?P<why>.*)"
    )
    LACKS = re.compile(r"ensemble (?P<ensemble>\S+) (?P<why>contains models that are not avail.*)")
    LOADING = re.compile(r'"loading: (?P<model>\S+):\d+"')
    LOADED = re.compile(r"successfully loaded '(?P<model>[^']+)'")
    IN_ENSEMBLE = re.compile(r'"Invalid argument: in ensemble (?P<ensemble>[^,]+), (?P<why>.*)"')
    CIRCLE = re.compile(r'"Invalid argument: (?P<why>circular .* ensembles: (?P<ensemble>\S+).*)"')
    UNREAD = re.compile(r"text_format\.cc:\d+\] Error parsing text-format \S+: (?P<why>.*)")
    IDLE = "All models are stopped, unloading models"
    LISTENING = re.compile(r"failed to start .* service: (?P<why>.*)")

    def __init__(
        self,
        lines: Iterable[str],
        verbose: bool,
        record: Callable[[str], None] = lambda line: None,  # gets Envoy's line of each request
    ):
        self.failures: dict[str, str] = {}
        self.idle = False  # tritonserver was told to end, and no request is in flight any more
        self._unread = ""  # where the last config.pbtxt is none
        self.loading: set[str] = set()  # models that have begun to load, and not ended
        self.errors: list[str] = []
        self._record = record
        self._thread = Thread(target=self._read, args=(lines, verbose), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterable[str], verbose: bool) -> None:
        for line in lines:
            if line.startswith("{"):
                self._record(line)
                continue
            if failed := self.FAILED.search(line):
                model = failed["version"] or failed["model"] or failed["folder"]
                self.failures[model] = plain(failed["why"])
                if self._unread and "text proto" in failed["why"]:
                    self.failures[model] += f": {self._unread}"
                self.loading.discard(model)
            elif failed := self.UNREAD.search(line):
                self._unread = failed["why"].strip()
            elif failed := self.IN_ENSEMBLE.search(line) or self.CIRCLE.search(line):
                self.failures[failed["ensemble"]] = plain(failed["why"])
            elif begun := self.LOADING.search(line):
                self.loading.add(begun["model"])
            elif loaded := self.LOADED.search(line):
                self.loading.discard(loaded["model"])
            elif failed := self.LACKS.search(line):
                if not self.failures:  # else a model that failed is what it lacks
                    self.failures[failed["ensemble"]] = plain(failed["why"])
            elif self.IDLE in line:
                self.idle = True
            elif line.startswith("error:"):
                self.errors.append(line.strip())
            elif line.startswith("C front: "):  # Envoy's last words
                self.errors.append(line[9:].strip())
            elif listening := self.LISTENING.search(line):
                self.errors.append(listening["why"].strip().strip('"'))
            matters = line[:1] in "EW" and not failed and not self.NOISE.search(line)
            if verbose or matters:
                say(line, sys.stderr)

    def join(self) -> None:
        """Waits until all that was written has been read."""
        self._thread.join(timeout=5)

    def failure(self) -> str:
        """Which models failed to load and why, else tritonserver's last words, else ''."""
        if self.failures:
            reasons = "; ".join(f"{model}: {why}" for model, why in self.failures.items())
            return f"models failed to load: {reasons}"
        return "; ".join(self.errors)
