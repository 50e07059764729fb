"""A run over an archive on Ray: its files in blocks, its workers, and what is done about losses.

Ray carries the blocks to the actors and starts again those that end. What it gave up, for a block
has a file that ends whoever reads it or was on a machine that went away, is asked for again in
another round, each file by itself. A file that then still ends its worker is an error of its own.
"""

import logging
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage data

import pyarrow as pa
import pyarrow.compute as pc
import ray

from archive.looking import Settings, unread
from archive.rows import ANSWERS
from archive.sources import SourceError, read
from archive.store import Store
from archive.worker import Worker
from countersign.messages import Model

FILES_AT_ONCE = 64  # of a block, at most: what a dead worker costs, twice
BYTES_AT_ONCE = 64 * 2**20
BLOCKS = 8  # or more for each worker, so that all end at about the same time
IN_FLIGHT = 2  # blocks that wait at a worker or are in work there
TRIES = 2  # of a block whose worker ends
ROUNDS = 3
SILENT_S = 20.0  # without a block, while a machine is gone: its blocks are given up
PART_ROWS = 100_000  # pages of a Parquet part, about
PART_S = 120.0  # or what is there by then: a run that is killed loses as much
ENDS = "document: ends whatever worker looks at it"
SHARES = 4  # workers on a core that only ask a server

Cluster = Mapping[str, Any]  # arguments of ray.init


@dataclass
class Progress:
    """How far a run is."""

    files: int
    bytes: int
    began: float = field(default_factory=time.monotonic)
    files_done: int = 0
    bytes_done: int = 0
    pages: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # key -> why it is for the next run

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def pages_per_s(self) -> float:
        return self.pages / self.seconds

    @property
    def left_s(self) -> float | None:
        """None as long as nothing is done."""
        return self.seconds * (self.bytes / self.bytes_done - 1) if self.bytes_done else None


def run(
    todo: pa.Table,
    settings: Settings,
    model: Model,
    store: Store,
    cluster: Cluster,
    workers: int | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    silent_s: float = SILENT_S,
) -> Progress:
    """Looks at all files, LISTED in a table, and writes their rows; `tell` is called often.

    Without a number of `workers` they are one for each core of the cluster, SHARES with a server.
    """
    progress = Progress(len(todo), sum(todo["bytes"].to_pylist()))
    parts = Parts(store)
    if len(todo):
        ray.init(**cluster)
    try:
        left = todo
        for number in range(ROUNDS):
            if not len(left):
                break
            answered: set[str] = set()
            alone = number > 0
            whole = True
            with closing(one_round(left, settings, model, workers, alone, silent_s)) as items:
                for item in items:
                    if item is CUT:
                        whole = False
                    elif item is not None:
                        answered.update(item["key"].to_pylist())
                        count(progress, item)
                        parts.add(item)
                    tell(progress)
            left = left.filter(pa.array([key not in answered for key in left["key"].to_pylist()]))
            if alone and whole and len(left):
                ended = [killing(row, settings, model) for row in left.to_pylist()]
                table = pa.Table.from_pylist(ended, schema=ANSWERS)
                count(progress, table)
                parts.add(table)
                left = left.slice(0, 0)
        for key in left["key"].to_pylist():
            progress.failed[key] = "the machines that looked at it went away"
    finally:
        parts.close()
        ray.shutdown()
    return progress


CUT = object()  # the round ended early


def one_round(
    files: pa.Table,
    settings: Settings,
    model: Model,
    workers: int | None,
    alone: bool,
    silent_s: float,
) -> Generator[Any, None, None]:
    """Tables of ANSWERS as they get ready; None each second in which there is none; CUT.

    What Ray gave up is missing.
    """
    share = 1 / SHARES if settings.server is not None else 1.0
    size = workers or max(1, int(ray.cluster_resources().get("CPU", 1) / share))
    parts = list(blocks(files, size, alone))
    size = min(size, len(parts))
    in_flight = 1 if alone else IN_FLIGHT  # else what waits behind a file ends with its worker too
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is lost comes again
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last two are to get another way in
        answers = ray.data.from_arrow(parts).map_batches(
            Worker,
            fn_constructor_args=[settings, model],
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=in_flight),
            num_cpus=share,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )
    found: queue.Queue[Any] = queue.Queue(16)
    threading.Thread(target=_drain, args=(answers, found), daemon=True).start()
    heard = time.monotonic()
    begun = False
    try:
        while True:
            try:
                item = found.get(timeout=1)
            except queue.Empty:
                yield None
                silent = time.monotonic() - heard > silent_s
                if begun and silent and short_of(size * share):
                    yield CUT
                    return
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            heard, begun = time.monotonic(), True
            yield item
    finally:
        stop(answers)


def _drain(answers: "ray.data.Dataset", found: "queue.Queue[Any]") -> None:
    """Puts each block there, then None, or what went wrong."""
    try:
        for block in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            if len(block):
                found.put(block.cast(ANSWERS))  # type: ignore[union-attr]
        found.put(None)
    except BaseException as error:
        found.put(error)


def stop(answers: "ray.data.Dataset") -> None:
    """Ends its workers and what is still under way; Ray Data has no public way from outside."""
    if (executor := answers._current_executor) is not None:
        executor.shutdown(force=True)
        executor.join()  # type: ignore[attr-defined]  # it is a thread


def short_of(cores: float) -> bool:
    """Whether the cluster has fewer, since a machine went away."""
    return bool(ray.cluster_resources().get("CPU", 0) < cores)


def blocks(files: pa.Table, workers: int, alone: bool) -> Iterator[pa.Table]:
    """The files in blocks, each an equal amount of work, about; or each file by itself."""
    most = 1 if alone else min(FILES_AT_ONCE, max(1, len(files) // (BLOCKS * workers)))
    begin, size = 0, 0
    for end, count_ in enumerate(files["bytes"].to_pylist()):
        if end > begin and (end - begin >= most or size + count_ > BYTES_AT_ONCE):
            yield files.slice(begin, end - begin)
            begin, size = end, 0
        size += count_
    yield files.slice(begin)


def count(progress: Progress, answers: pa.Table) -> None:
    """Adds what came."""
    progress.files_done += len(answers)
    progress.bytes_done += sum(answers["bytes"].to_pylist())
    progress.pages += pc.sum(answers["page_count"]).as_py() or 0
    failed = answers.filter(pc.is_valid(answers["failed"]))
    progress.failed |= zip(failed["key"].to_pylist(), failed["failed"].to_pylist(), strict=True)


def killing(row: dict[str, Any], settings: Settings, model: Model) -> dict[str, Any]:
    """The answer for a file that ends its workers."""
    try:
        content = read(settings.base, row["key"], 0)
    except (SourceError, OSError) as error:
        return row | {"failed": f"storage: {error}"}
    return row | {"sha256": content.sha256} | unread(ENDS, model, settings)


class Parts:
    """Gathers answers until they are worth a part. Close it: what is there is written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._since = time.monotonic()

    def add(self, answers: pa.Table) -> None:
        """Those that failed are not written: the next run looks at them again."""
        good = answers.filter(pc.is_null(answers["failed"]))
        self._tables.append(good)
        self._rows += len(good["pages"].combine_chunks().flatten())
        if self._rows >= PART_ROWS or time.monotonic() - self._since >= PART_S:
            self.close()

    def close(self) -> None:
        """Writes what is there."""
        table = pa.concat_tables([ANSWERS.empty_table(), *self._tables])
        if len(table):
            self._store.write(table)
        self._tables, self._rows, self._since = [], 0, time.monotonic()
