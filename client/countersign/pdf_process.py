"""The process that opens a PDF and draws its pages: `python -m countersign.pdf_process`.

A PDF may be made to break or to exhaust who reads it, so it is read here, with bounds of memory and
of time, and whoever asks ends this process when it takes too long. What is asked comes on standard
input, what is answered goes to standard output: a line of JSON, whose `bytes` tell how many bytes
follow it.

open {bytes}                     -> {page_count}; the document replaces the one before
page {number, dpi, drawn, most}  -> the fields of a Page; then its picture, an image file
picture {number, dpi, most}      -> {}; then the page as a JPEG at that dpi, of an image file too

An answer with `refused` says why there is none.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import pypdfium2 as pdfium
from PIL import Image

from countersign.pdf_pages import Opened, page_of
from countersign.pdf_pictures import Refused, image_picture, scan_picture

JsonObject = dict[str, Any]

GRACE_S = 5  # after which a page's own alarm ends what nobody ended


def bounded(bytes_max: int) -> None:
    """Bounds this process's memory, and keeps it from writing files, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (bytes_max, bytes_max))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def alarm(seconds: float) -> None:
    """Has the system end this process after so many seconds, 0 for never, where it can."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until the questions end."""
    opened: Opened | None = None
    data = b""
    while line := questions.readline():
        asked = json.loads(line)
        payload = b""
        alarm(asked.get("seconds", 60) + GRACE_S)
        try:
            if asked["do"] == "open":
                if opened is not None:
                    opened.close()
                    opened = None
                data = questions.read(asked["bytes"])
                if asked["kind"] == "pdf":
                    opened = Opened(data)
                    answer: JsonObject = {"page_count": opened.page_count}
                else:
                    answer = {}
            elif asked["do"] == "picture" and opened is None:
                payload = image_picture(data, asked["number"], asked["dpi"], asked["most"])
                answer = {}
            elif opened is None:
                raise Refused("document: none is open", kind="unreadable")
            elif asked["do"] == "picture":
                number, dpi, most = asked["number"], asked["dpi"], asked["most"]
                fields, payload = page_of(opened, number, dpi, False, most)
                if fields["embedded"]:
                    payload = scan_picture(payload, fields["matrix"], dpi)
                answer = {}
            else:
                answer, payload = page_of(
                    opened, asked["number"], asked["dpi"], asked["drawn"], asked["most"]
                )
        except Refused as refusal:
            answer, payload = refusal.fields, b""
        except MemoryError:
            answer, payload = {"refused": "takes too much memory", "kind": "memory"}, b""
        except pdfium.PdfiumError as error:
            answer, payload = {"refused": f"cannot be read: {error}", "kind": "unreadable"}, b""
        alarm(0)
        answers.write(json.dumps({**answer, "bytes": len(payload)}).encode() + b"\n" + payload)
        answers.flush()


def main() -> None:
    """Serves on standard input and output; the bound of memory is the only argument."""
    bounded(int(sys.argv[1]))
    Image.MAX_IMAGE_PIXELS = None  # who asks says how many there may be
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever prints is not taken for an answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
