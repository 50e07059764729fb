"""What `make bench` measures, as records: report.json holds them, report.html shows them.

A kind is one of corpus.SHARES or the mix of them; a stage is a step of an ensemble, `transport`, or
`load generator`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms."""

    p50: float
    p90: float
    p95: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float] | npt.NDArray[np.floating]) -> "Latency":
        """Of at least one time in ms."""
        return cls(*np.percentile(times, (50, 90, 95, 99)).tolist())


@dataclass(frozen=True)
class Figures:
    """A load on a server, after its warm-up."""

    all_requests: int  # with the warm-up's
    requests: int
    throughput: float  # right answers a second
    failures: int  # with the warm-up's
    first_failure: str
    latency: Latency
    by_kind: dict[str, Latency]
    client_cpu_ms: float  # of the load generator, a request


@dataclass(frozen=True)
class Speed:
    """How quickly files are answered, one at a time or by a server under one load."""

    latency: Latency
    throughput: float  # files a second


@dataclass(frozen=True)
class Rate:
    """A graph without anything around it."""

    p50_ms: float
    throughput: float  # inferences a second


@dataclass(frozen=True)
class Together:
    """Processes that share the cores, one thread each."""

    throughput: float  # files a second, of all
    workers: int


@dataclass(frozen=True)
class Limit:
    """What the cores allow without a server."""

    latency: dict[str, Rate]  # by graph, one inference at a time
    throughput: dict[str, Rate]  # by graph, as many as are quickest
    in_process: dict[str, Speed] = field(default_factory=dict)  # by kind
    steps_ms: dict[str, dict[str, float]] = field(default_factory=dict)  # by kind and step, median
    workers: dict[str, Together] = field(default_factory=dict)  # by kind


@dataclass(frozen=True)
class MemorySample:
    """The memory of a server and its steps at one moment."""

    seconds: float  # since the first
    pss_mib: float
    shm_mib: float


@dataclass(frozen=True)
class Served:
    """The server under its loads."""

    start_s: float
    one_client: dict[str, Figures]  # by kind
    one_client_http: Figures
    steps_ms: dict[str, float]  # by step, mean, one client
    closed: dict[str, dict[int, Figures]]  # by kind and number of clients
    capacity: dict[str, Figures]  # by kind
    arrivals: dict[float, Figures]  # by share of capacity
    cpu_ms: dict[str, dict[str, float]]  # by kind and stage, a page
    soak: Figures
    memory: list[MemorySample]


@dataclass(frozen=True)
class Run:
    """All that `make bench` measured."""

    command: str
    machine: dict[str, str | int]
    peers_weights: str  # of peers on ONNX: random, or the checkpoint's
    limit: Limit
    served: Served
    turns: dict[str, dict[str, list[Speed]]]  # of server and peers, by name and load, one a turn
    a_process_a_core: list[float]  # pages a second, one a turn
