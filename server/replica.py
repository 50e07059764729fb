"""One replica: a tritonserver that is asked its samples, in a thread from its start to its end."""

import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from threading import Event, Lock, Thread

from server import memory, vitals
from server.readiness import Broken, Golden, NotReady, Wrong, finished
from server.release import Release
from server.settings import ServerError, Settings
from server.triton import Triton

ASK_EVERY_S = 3
LATE_S = 4  # without an answer, after which it is asked what else was finished meanwhile
SILENCE_S = 30  # without an answer to a sample, however busy
OVERTAKEN_S = 10  # without an answer, while samples asked as much later were answered
UNLISTED_S = 0.3  # after which the front has read that a replica is not to be asked


class State(Enum):
    """What can be said of a replica; in this order it goes through some of them."""

    STARTING = "starting"
    WELL = "well"
    WORN = "worn"  # gives right answers, but is to be replaced
    FAULTY = "faulty"
    GONE = "gone"  # and nothing is left of it


SERVING = (State.WELL, State.WORN)


class Leaving(Exception):
    """The replica was told to leave before it was ready."""


class Replica:
    """A tritonserver that serves `release` on sockets in its `place`, a folder of the server's.

    `fault` says what is wrong with it, or was at its end. `under_way` is asked how many requests
    the front has at it, `waiting_since` when the oldest of a model was sent, if it is an old one.
    """

    def __init__(
        self,
        settings: Settings,
        place: Path,
        release: Release,
        under_way: Callable[[str], int],
        waiting_since: Callable[[str, str], float | None],
    ) -> None:
        self.name = place.name
        self.release = release
        self.state = State.STARTING
        self.fault: ServerError | None = None
        self.ready_at = 0.0  # by time.monotonic
        self.memory_mib = 0
        self.triton = Triton(settings, self._stay, place, release)
        self._under_way, self._waiting_since = under_way, waiting_since
        self._processes: list[vitals.Process] = []
        self.most_mib = settings.replica_memory_mib or memory.replica_mib(settings)
        self._changing = Lock()  # the state, which the supervisor's thread changes as well
        self._leave = Event()
        self._patience_s = 0.0  # for what is under way when it leaves
        # tritonserver gets a signal when the thread that has started it ends
        self._thread = Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Notices processes that have died or are stopped; takes a moment.

        While it starts, tritonserver itself tells why it ends. Without tritonserver nothing of it
        is of use: it ends at once.
        """
        if self.state is State.STARTING and self.triton.started:
            if fault := vitals.fault(vitals.group(self.triton.pid), may_end=True):
                self.fault = ServerError(fault)
                self.kill()
        elif self.state in SERVING and (fault := vitals.fault(self._processes)):
            self._becomes(State.FAULTY, fault)
            if vitals.fault(each for each in self._processes if each.pid == self.triton.pid):
                self.leave(0)

    def leave(self, patience_s: float) -> None:
        """Has it end: while it answers, once the front has nothing at it, after so long at most."""
        if not self._leave.is_set():
            self._patience_s = patience_s
            self._leave.set()

    @property
    def leaving(self) -> bool:
        """Whether it was told to leave."""
        return self._leave.is_set()

    def kill(self) -> None:
        """Ends its processes at once."""
        self.leave(0)
        self.triton.kill()

    def join(self) -> None:
        """Waits until nothing is left of it."""
        self._thread.join()

    def _live(self) -> None:
        try:
            with self.triton:
                self._processes = vitals.group(self.triton.pid)
                self.ready_at = time.monotonic()
                self._becomes(State.WELL)
                self._watch()
                self._end()
        except Leaving:
            pass
        except ServerError as error:
            self.fault = self.fault or error
        finally:
            self._becomes(State.GONE)

    def _stay(self) -> None:
        if self._leave.is_set():
            raise Leaving

    def _becomes(self, state: State, fault: str = "") -> None:
        with self._changing:
            if self.state is State.GONE:
                return
            if fault:
                self.fault = self.fault or ServerError(fault)
            self.state = state

    def _watch(self) -> None:
        """Until it is told to leave."""
        while not self._leave.wait(ASK_EVERY_S):
            if self.state not in SERVING:
                continue
            try:
                for golden in self.release.goldens:
                    asked = time.monotonic()
                    self._ask(golden)
                    self._check_overtaken(golden, asked)
            except NotReady as error:
                if not self._leave.is_set():
                    self._becomes(State.FAULTY, error.said or str(error))
            self.memory_mib = vitals.memory_mib(self._processes)
            if self.state is State.WELL and self.memory_mib > self.most_mib:
                self._becomes(State.WORN, f"{self.memory_mib} MiB, limit {self.most_mib} MiB")

    def _ask(self, golden: Golden) -> None:
        """Returns once the golden is answered. Raises NotReady if it is not, or not rightly.

        A late answer may wait for others: it is hung if none of its steps has ended another
        request meanwhile.
        """
        url = self.triton.http_url
        began = time.monotonic()
        while not self._leave.is_set() and self.state in SERVING:
            asked = time.monotonic()
            before = finished(url, golden.steps)
            try:
                return golden.ask(url, LATE_S)
            except (Broken, Wrong):
                raise
            except NotReady as error:
                self._leave.wait(max(0.0, asked + LATE_S - time.monotonic()))
                after = finished(url, golden.steps)
                others = max(after[step] - before[step] - 1 for step in golden.steps)
                if others < 1 or time.monotonic() - began > SILENCE_S:
                    waited_s = time.monotonic() - began
                    raise NotReady(
                        f"{golden.ensemble}: no answer for {waited_s:.0f} s, "
                        f"{max(others, 0)} others in the last {LATE_S}"
                    ) from error

    def _check_overtaken(self, golden: Golden, asked: float) -> None:
        """Raises NotReady if a request has no answer that was sent long before the golden.

        One process of several of a step has it, and hangs: each takes what came first.
        """
        sent = self._waiting_since(self.name, golden.ensemble) if golden.sample else None
        if sent is not None and asked - sent > OVERTAKEN_S:
            raise NotReady(
                f"{golden.ensemble}: a request has no answer for {asked - sent:.0f} s, others have"
            )

    def _end(self) -> None:
        """Waits for what is under way, then kills what is faulty; a well one ends by itself."""
        deadline = time.monotonic() + self._patience_s
        time.sleep(min(UNLISTED_S, self._patience_s))
        while time.monotonic() < deadline and self._under_way(self.name):
            time.sleep(0.05)
        if self.state is State.FAULTY:
            self.triton.kill()
