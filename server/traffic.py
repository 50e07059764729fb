"""What came of each request, by the front's log: counted for the metrics, shown if asked for."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from threading import Lock

from server.front import STILL_S
from server.log import say

ANSWERED = "answered"
PERIODIC = "DownstreamPeriodic"  # Envoy's word for a line before a request's end
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
AWAITED = (ANSWERED, "busy", "error", "timeout", "unavailable")
GRPC = {0: ANSWERED, 1: "cancelled", 3: "invalid", 4: "timeout", 5: "unknown", 14: "unavailable"}
HTTP = {0: "cancelled", 200: ANSWERED, 400: "invalid", 404: "unknown", 503: "unavailable"} | {
    408: "timeout",
    504: "timeout",
}


def outcome(record: dict) -> str:
    """What came of a request, in a word: answered, or why it was not."""
    if record["refused"]:
        return record["refused"]
    status, grpc = record["status"], record["grpc"]
    if (record["call"] or "").startswith("grpc") and grpc is not None:
        return GRPC.get(grpc, "error")
    return HTTP.get(status, "refused" if status < 500 else "error")


@dataclass(frozen=True)
class Waiting:
    """A request that the log told of before its end. Times are by time.monotonic."""

    replica: str  # its folder's name
    model: str
    sent: float  # when tritonserver had it
    told: float  # when the log last told of it


class Traffic:
    """Counts of requests since the start, for any number of threads; shown if `shows`."""

    def __init__(self, models: Iterable[str], shows: bool) -> None:
        self._shows = shows
        self.also: Callable[[dict, str], None] = lambda record, came: None  # gets inferences
        self._lock = Lock()
        # by model and outcome; those that alerts ask for are there from the start, as 0
        self._ended = Counter({(model, came): 0 for model in models for came in AWAITED})
        self._within: Counter[tuple[str, float]] = Counter()  # answered, by model and bucket
        self._seconds = dict.fromkeys(models, 0.0)
        self._waiting: dict[tuple[str, str], Waiting] = {}  # by id and time

    def see(self, line: str) -> None:
        """Counts a line of the front's log, unless it is of a request that is still under way."""
        try:
            record = json.loads(line)
        except ValueError:  # another line of Envoy's came in between
            return
        if record["type"] == PERIODIC:
            self._wait(record)
            return
        if self._shows:
            say(line)
        if not record["call"] or record["call"].endswith(("health", "read")):
            return
        model, came = record["model"] or "", outcome(record)
        self.also(record, came)
        with self._lock:
            self._waiting.pop((record["id"], record["time"]), None)
            self._ended[model, came] += 1
            if came == ANSWERED:
                seconds = record["milliseconds"] / 1000
                self._seconds[model] = self._seconds.get(model, 0.0) + seconds
                bucket = next((limit for limit in BUCKETS_S if seconds <= limit), float("inf"))
                self._within[model, bucket] += 1

    def _wait(self, record: dict) -> None:
        if not record["replica"] or record["sent"] is None:
            return  # it is not there as a whole
        began = datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S.%fZ")
        age_s = time.time() - began.replace(tzinfo=timezone.utc).timestamp()
        now = time.monotonic()
        sent = now - age_s + record["sent"] / 1000
        replica = record["replica"].partition("/")[0]
        with self._lock:
            self._waiting[record["id"], record["time"]] = Waiting(
                replica, record["model"] or "", sent, now
            )

    def waiting_since(self, replica: str, model: str) -> float | None:
        """When the oldest request of a model that waits for that replica was sent, if one is old.

        Those of under STILL_S are not known. By time.monotonic.
        """
        with self._lock:
            forgotten = time.monotonic() - 3 * STILL_S  # as when the front was ended
            self._waiting = {key: one for key, one in self._waiting.items() if one.told > forgotten}
            sent = [
                one.sent
                for one in self._waiting.values()
                if (one.replica, one.model) == (replica, model)
            ]
        return min(sent, default=None)

    def lines(self) -> Iterator[str]:
        """The metrics."""
        with self._lock:
            ended, within, seconds = self._ended.copy(), self._within.copy(), self._seconds.copy()
        yield "# HELP countersign_requests_total Inferences asked for, by what came of them."
        yield "# TYPE countersign_requests_total counter"
        for (model, came), count in ended.items():
            yield f'countersign_requests_total{{model="{model}",outcome="{came}"}} {count}'
        yield "# HELP countersign_request_seconds From a request's first byte to its answer's last."
        yield "# TYPE countersign_request_seconds histogram"
        for model, total in seconds.items():
            count = 0
            for limit in (*BUCKETS_S, float("inf")):
                count += within[model, limit]
                le = "+Inf" if limit == float("inf") else f"{limit:g}"
                labels = f'model="{model}",le="{le}"'
                yield f"countersign_request_seconds_bucket{{{labels}}} {count}"
            yield f'countersign_request_seconds_sum{{model="{model}"}} {total:.3f}'
            yield f'countersign_request_seconds_count{{model="{model}"}} {count}'
