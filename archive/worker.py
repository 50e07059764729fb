"""An actor of Ray: holds the network once, on a core of its own, and looks at files."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from archive.looking import BOUNDS, Eye, Settings, answer, by_server, in_process, model_of
from archive.rows import ANSWERS
from archive.sources import Content, SourceError, read
from countersign import Client
from countersign.errors import CountersignError
from countersign.messages import Model
from countersign.pdf import PdfProcess

AHEAD = 4  # files that are read while another is looked at


class Worker:
    """Answers for files, LISTED in a table, with their ANSWERS; never with an exception."""

    def __init__(self, settings: Settings, model: Model) -> None:
        """`model` is what a server has; a network here tells its own. ValueError if it has none."""
        self._settings = settings
        self._client = Client(settings.server) if settings.server is not None else None
        look = by_server(settings, self._client) if self._client else in_process(settings)
        self._eye = Eye(look, model if self._client else model_of(settings), settings)
        self._pdfs = PdfProcess(BOUNDS)
        self._readers = ThreadPoolExecutor(AHEAD)

    def __call__(self, files: pa.Table) -> pa.Table:
        rows = files.to_pylist()
        if self._client is not None:
            self._follow(self._client)
        for row, content in zip(rows, self._contents([row["key"] for row in rows]), strict=True):
            row |= self._answered(content)
        return pa.Table.from_pylist(rows, schema=ANSWERS)

    def _follow(self, client: Client) -> None:
        """The server may have another version by now."""
        try:
            self._eye = Eye(self._eye.look, model_of(self._settings, client), self._settings)
        except (CountersignError, ValueError) as error:
            print(f"archive: {error}", file=sys.stderr)  # its pages will say so too

    def _contents(self, keys: list[str]) -> Iterator["Future[Content]"]:
        """Each file, as it is read; a few are read ahead, and no more are held."""
        base = self._settings.base
        futures = [self._readers.submit(read, base, key, BOUNDS.max_bytes) for key in keys[:AHEAD]]
        for i in range(len(keys)):
            yield futures.pop(0)
            if i + AHEAD < len(keys):
                futures.append(self._readers.submit(read, base, keys[i + AHEAD], BOUNDS.max_bytes))

    def _answered(self, content: "Future[Content]") -> dict[str, Any]:
        if not self._pdfs.alive:
            self._pdfs.close()
            self._pdfs = PdfProcess(BOUNDS)
        try:
            return answer(content.result(), self._eye, self._pdfs)
        except (SourceError, OSError) as error:
            return {"failed": f"storage: {error}"}
        except CountersignError as error:
            return {"failed": f"server: {error}"}
        except Exception as error:  # whatever it is, the files beside it have answers
            return {"failed": f"{type(error).__name__}: {error}"}
