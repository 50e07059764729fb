"""Users of the server, for locust: pages and CAPTCHAs through the client that users have.

    locust -f benchmarks/speed/locustfile.py --headless ClosedLoop --users 8 --run-time 20s \\
      --host 127.0.0.1:8001 --corpus DIR
    locust -f benchmarks/speed/locustfile.py --headless OpenLoop --rate 40 ...
    locust -f benchmarks/speed/locustfile.py --headless ClosedLoop --requests 10000 ...

ClosedLoop: each user sends its next file when it has the answer to the last. OpenLoop: files are
sent at random times (Poisson) whatever the server does, and latency counts from the time at which
one was due, so that waiting cannot hide. A wrong answer is a failure. This file and what it imports
know no torch: locust patches the process for gevent first.
"""

import gc
import http.client
import itertools
import json
import random
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import gevent
import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User, constant, events, task
from locust.runners import WorkerRunner

from benchmarks.speed.corpus import MIX, SHARES, Sample, drawn, load, mistake
from countersign import Client, Detections, Reading

grpc_gevent.init_gevent()  # before any channel, else one slow reply stalls every user

Answer = Detections | Reading

SEEDS = itertools.count()
BOUNDARY = "countersign-benchmark"
RECORDS: list[tuple[str, float, float, str]] = []  # kind, due (s), latency (ms), what went wrong
HTTP_CLIENTS: list[Client] = []
CPU_S: list[float] = []  # of this process, at the start


@events.init_command_line_parser.add_listener
def _(parser):
    parser.add_argument("--protocol", choices=["grpc", "http", "peer", "gateway"], default="grpc")
    parser.add_argument("--corpus", default="runs/corpus", help="folder of make_corpus")
    parser.add_argument("--kind", choices=[MIX, *SHARES], default=MIX, help="what is sent")
    parser.add_argument("--rate", type=float, default=10, help="OpenLoop: files a second, in all")
    parser.add_argument("--requests", type=int, default=0, help="stop after so many; 0 is never")
    parser.add_argument("--unchecked", action="store_true", help="take any boxes for right")
    parser.add_argument("--records", default="", help="file for every request's latency")


@events.test_start.add_listener
def _(environment, **_):
    CPU_S.append(time.process_time())
    if environment.parsed_options.protocol == "http":
        # one for all users: its event loop takes the only thread that gevent leaves
        HTTP_CLIENTS.append(Client(environment.host, protocol="http"))
    counts = not isinstance(environment.runner, WorkerRunner)  # the master counts for its workers
    if counts and environment.parsed_options.requests:
        gevent.spawn(_stop_after, environment, environment.parsed_options.requests)


def _stop_after(environment, requests: int) -> None:
    while environment.stats.total.num_requests < requests:
        gevent.sleep(0.2)
    environment.runner.quit()


@events.quitting.add_listener
def _(environment, **_):
    if environment.parsed_options.records and RECORDS:
        found = {"requests": RECORDS, "client_cpu_s": time.process_time() - CPU_S[0]}
        Path(environment.parsed_options.records).write_text(json.dumps(found))


@lru_cache
def files(folder: str, kind: str) -> tuple[list[Sample], dict[str, bytes]]:
    """The samples of a kind and their bytes, read once for all users."""
    samples = load(Path(folder), kind)
    return samples, {each.name: (Path(folder) / each.name).read_bytes() for each in samples}


class Served:
    """A user's connection to the server; its own over gRPC."""

    def __init__(self, url: str, protocol: str) -> None:
        self.client = HTTP_CLIENTS[0] if protocol == "http" else Client(url)
        self.close = (lambda: None) if protocol == "http" else self.client.close

    def ask(self, sample: Sample, image: bytes) -> Answer:
        if sample.kind == "captcha":
            return self.client.read(image)
        return self.client.detect(image)


class Peer:
    """A user's connection to another server: an upload to /predict."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url, timeout=30)
        self.close = self.connection.close

    def ask(self, sample: Sample, image: bytes) -> Answer:
        """The boxes. ValueError with the reply if its status is not 200."""
        found = self.posted("/predict", sample, image)
        boxes = np.array(found["boxes"], np.float32).reshape(-1, 4)
        scores = np.array(found["scores"], np.float32)
        return Detections(boxes, scores, tuple(found["labels"]), (0, 0))

    def posted(self, path: str, sample: Sample, image: bytes) -> Any:
        """The JSON that a form with the file is answered."""
        head = (
            f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
            f'name="file"; filename="{sample.name}"\r\n\r\n'
        )
        body = head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self.connection.request("POST", path, body, kind)
        reply = self.connection.getresponse()
        answer = reply.read()
        if reply.status != 200:
            raise ValueError(f"HTTP {reply.status} {answer[:200]!r}")
        return json.loads(answer)


class Gateway(Peer):
    """A user's connection to the gateway, which answers the same in its own words."""

    def ask(self, sample: Sample, image: bytes) -> Answer:
        """The boxes. ValueError with the reply if its status is not 200."""
        found = self.posted("/detect", sample, image)["detections"]
        boxes = np.array([each["bbox"] for each in found], np.float32).reshape(-1, 4)
        scores = np.array([each["confidence"] for each in found], np.float32)
        return Detections(boxes, scores, tuple(each["class"] for each in found), (0, 0))


class Sender(User):
    """What both loops do: hold a connection, send a file, record how it went."""

    abstract = True
    host: str  # host:port of the endpoint

    def on_start(self) -> None:
        self.options = self.environment.parsed_options
        self.samples, self.images = files(self.options.corpus, self.options.kind)
        worker = getattr(self.environment.runner, "worker_index", 0)
        self.seed = 1000 * worker + next(SEEDS)
        self.order = drawn(self.samples, self.seed)
        others = {"peer": Peer, "gateway": Gateway}
        other = others.get(self.options.protocol)
        self.server = other(self.host) if other else Served(self.host, self.options.protocol)

    def on_stop(self) -> None:
        self.server.close()
        del self.server
        gc.collect()  # a channel that is collected after gevent ended hangs the process

    def send(self, sample: Sample, due: float) -> None:
        """Ask for one file that was due at `due`, on the clock of time.perf_counter."""
        wrong = ""
        try:
            answer = self.server.ask(sample, self.images[sample.name])
            if not self.options.unchecked:
                wrong = mistake(sample, answer)
        except Exception as error:  # whatever it is, it counts
            wrong = repr(error)
        latency = (time.perf_counter() - due) * 1000  # ms
        RECORDS.append((sample.kind, due, latency, wrong))
        self.environment.events.request.fire(
            request_type=self.options.protocol,
            name=sample.kind,
            response_time=latency,
            response_length=0,
            exception=wrong or None,
        )


class ClosedLoop(Sender):
    """As many requests in flight as users."""

    wait_time = constant(0)

    @task
    def ask(self) -> None:
        self.send(next(self.order), time.perf_counter())


class OpenLoop(Sender):
    """Each user sends its part of --rate; 1 user is enough, 2 for 2 locust workers."""

    wait_time = constant(0)

    def on_start(self) -> None:
        super().on_start()
        users = max(1, self.environment.parsed_options.num_users or 1)
        self.rate = self.options.rate / users
        self.times = random.Random(self.seed)
        self.due = time.perf_counter()
        self.sent: list[gevent.Greenlet] = []

    @task
    def ask(self) -> None:
        self.due += self.times.expovariate(self.rate)
        gevent.sleep(max(0.0, self.due - time.perf_counter()))
        self.sent = [each for each in self.sent if not each.dead]
        self.sent.append(gevent.spawn(self.send, next(self.order), self.due))

    def on_stop(self) -> None:
        gevent.joinall(self.sent)
        super().on_stop()
