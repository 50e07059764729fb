"""PDFs, opened and drawn in a process of their own: `pdf_process` says what is asked of it.

Needs the extra: pip install 'countersign-client[pdf]'.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np

from countersign.errors import CountersignError, Refused
from countersign.pages import Bounds, Encrypted, Page, TooLarge

DPI = 100  # at which pages are drawn; more finds no more (docs/gateway.md)
OPEN_S = 10.0  # that opening may take, and a second more for each OPEN_BYTES
OPEN_BYTES = 32 * 2**20
SPARE_BYTES = 512 * 2**20  # of memory, beside what a document and a page's pixels take
BYTES_PER_PIXEL = 12  # of a page: drawn, as Pillow has it, and on its way into a file
ENDS_MAX = 3  # pages that may end the process before the document is given up
LINE_MAX = 2**22  # bytes of an answer's first line: a page's annotations


class Ended(CountersignError):
    """The process ended before it answered."""


class PdfProcess:
    """A process that reads documents, one at a time; for one thread at a time. Close it."""

    def __init__(self, bounds: Bounds) -> None:
        if find_spec("pypdfium2") is None:
            raise Refused("a PDF needs pypdfium2: pip install 'countersign-client[pdf]'")
        self.bounds = bounds
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "countersign.pdf_process", str(memory(bounds))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for who started it
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(
        self, seconds: float, question: dict[str, Any], data: bytes = b""
    ) -> tuple[dict[str, Any], bytes]:
        """The answer's fields and bytes. Raises Ended, after `seconds` at the latest."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            return self._asked({**question, "seconds": seconds, "bytes": len(data)}, data)
        except (OSError, ValueError) as error:
            self._process.kill()
            status = self._process.wait()
            if late.is_set():
                raise Ended(f"takes longer than {seconds:g} s") from None
            raise Ended(f"takes too much memory, or breaks its reader (status {status})") from error
        finally:
            timer.cancel()

    def _asked(self, question: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        questions.write(json.dumps(question).encode() + b"\n")
        questions.write(data)
        questions.flush()
        answer = json.loads(answers.readline(LINE_MAX))  # ValueError for nothing
        payload = answers.read(answer["bytes"])
        if len(payload) != answer["bytes"]:
            raise ValueError(f"{len(payload)} bytes of {answer['bytes']}")
        return answer, payload

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()


def memory(bounds: Bounds) -> int:
    """Bytes that the process may take."""
    return SPARE_BYTES + BYTES_PER_PIXEL * bounds.max_pixels + 3 * bounds.max_bytes


class PdfDocument:
    """A PDF that is open, in `process` if one is lent, else in one of its own; close it.

    Raises Refused for what is no PDF, Encrypted, and TooLarge for too many pages. Any thread may
    ask for pages; they are made one by one.
    """

    kind = "pdf"

    def __init__(
        self,
        data: bytes,
        dpi: float = DPI,
        bounds: Bounds | None = None,
        process: PdfProcess | None = None,
    ) -> None:
        self._data, self._dpi = data, dpi
        self._bounds = (process.bounds if process else None) or bounds or Bounds()
        self._lent = process
        self._process = process or PdfProcess(self._bounds)
        self._lock, self._async_lock = threading.Lock(), asyncio.Lock()
        self._ends = 0
        try:
            self.page_count = self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> int:
        seconds = OPEN_S + len(self._data) / OPEN_BYTES
        try:
            answer, _ = self._process.ask(seconds, {"do": "open", "kind": "pdf"}, self._data)
        except Ended as error:
            raise Refused(f"document: a PDF that {error}") from None
        check(answer)
        count = answer["page_count"]
        if count < 1:
            raise Refused("document: a PDF of 0 pages")
        if count > self._bounds.max_pages:
            limit = self._bounds.max_pages
            raise TooLarge(f"document: {count} pages, limit {limit}", count, limit, "pages")
        return count

    def page(self, number: int, drawn: bool = False) -> Page:
        """Page `number`, from 1: the scan that it is, or `drawn`. Raises Refused."""
        self._check(number)
        fields, picture = self._ask("page", number, self._dpi, drawn=drawn)
        return Page(
            number,
            picture,
            size_points=tuple(fields["size_points"]),
            matrix=np.array(fields["matrix"], float),
            signature_fields=fields["signature_fields"],
            stamp_annotations=fields["stamp_annotations"],
            embedded=fields["embedded"],
        )

    async def page_async(self, number: int, drawn: bool = False) -> Page:
        """As `page`, without holding up the event loop."""
        async with self._async_lock:  # one thread waits for the process, not one a page
            return await asyncio.to_thread(self.page, number, drawn)

    def picture(self, number: int, dpi: float) -> bytes:
        """Page `number` as a JPEG at `dpi`. Raises Refused."""
        self._check(number)
        return self._ask("picture", number, dpi)[1]

    def _check(self, number: int) -> None:
        if not 1 <= number <= self.page_count:
            raise Refused(f"page: {number}, limit 1 to {self.page_count}")

    def _ask(self, do: str, number: int, dpi: float, **more: Any) -> tuple[dict[str, Any], bytes]:
        question = {"do": do, "number": number, "dpi": dpi, "most": self._bounds.max_pixels}
        with self._lock:
            if self._ends >= ENDS_MAX:
                raise Refused(f"page {number}: not looked at, after {ENDS_MAX} that failed so")
            if not self._process.alive:
                self._process.close()
                self._process = PdfProcess(self._bounds)
                self._open()
            try:
                answer, picture = self._process.ask(self._bounds.page_s, question | more)
            except Ended as error:
                self._ends += 1
                raise Refused(f"page {number}: {error}") from None
        check(answer)
        return answer, picture

    def close(self) -> None:
        """Frees what it holds; a process that was lent stays, if it is idle."""
        idle = self._lock.acquire(blocking=False)
        if not idle or self._process is not self._lent:
            self._process.close()
        if idle:
            self._lock.release()


def image_picture(
    data: bytes, number: int, dpi: float, bounds: Bounds, process: PdfProcess
) -> bytes:
    """Page `number` of an image file as a JPEG; `documents.picture_of` says how."""
    question = {"do": "picture", "number": number, "dpi": dpi, "most": bounds.max_pixels}
    try:
        process.ask(OPEN_S, {"do": "open", "kind": "image"}, data)
        answer, picture = process.ask(bounds.page_s, question)
    except Ended as error:
        raise Refused(f"page {number}: {error}") from None
    check(answer)
    return picture


def check(answer: dict[str, Any]) -> None:
    """Raises what an answer that is a refusal says."""
    if (detail := answer.get("refused")) is None:
        return
    if answer.get("kind") == "encrypted":
        raise Encrypted(detail)
    if answer.get("kind") == "pixels":
        raise TooLarge(detail, answer["value"], answer["limit"], "pixels")
    raise Refused(detail)
