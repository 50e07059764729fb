"""Keeps replicas and front well: a faulty replica gets an heir, and leaves once that is ready.

Each replica has a slot, with a share of the cores. A tick looks at all processes, moves each slot
on, and tells the front whom to ask.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from server import door, front, held, release
from server.cores import share
from server.envoy import Envoy
from server.folder import no_folder
from server.log import warn
from server.release import Release
from server.replica import SERVING, Replica, State
from server.repository import newest, older
from server.settings import ModelError, ServerError, Settings
from server.tries import Tries

if TYPE_CHECKING:  # what it imports takes a third of a second
    from server.published import Published

TICK_S = 0.2
FAULTY_LEAVES_S = 1.0  # after which a faulty replica's requests are given back to their clients


@dataclass
class Slot:
    """The place of a replica, and of the one that is to take over."""

    index: int
    current: Replica
    heir: Replica | None = None
    missed_at: float | None = None  # when `current` was first found to be not well
    tries: Tries = field(default_factory=Tries)

    @property
    def name(self) -> str:
        return f"replica {self.index + 1}"


class Reload:
    """A new reading of the repository, on its way to be served."""

    def __init__(self, fresh: Release) -> None:
        self.release = fresh
        self.refused = ""  # why it will not be
        self.done = Event()


class Trial:
    """A replica of a release that is tried beside those that are served."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.ends = False  # it is wanted no more
        self.wins = False  # it is to take over


class Supervisor:
    """The replicas in a server's `folder`, and the front before them.

    `while_starting` is called now and then until the first replicas are ready; what it raises ends
    the start. `waiting_since` is what replicas ask. A repository that is `published` is taken anew
    at each reload.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        while_starting: Callable[[], None],
        waiting_since: Callable[[str, str], float | None],
        published: "Published | None" = None,
    ) -> None:
        self.settings = settings
        self.published = published
        self.failed = ""  # why nothing is kept well any more
        self.restarts: Counter[str] = Counter()  # of each slot, and of the front
        self._folder, self._while_starting = folder, while_starting
        self._waiting_since = waiting_since
        self._names = (f"{folder.name}_{number}" for number in count(1))
        self._copies = (folder / f"models-{number}" for number in count(1))
        self.slots: list[Slot] = []
        self._left: list[Replica] = []  # those that have an heir in their place
        self._retired: list[Release] = []
        self._front: Envoy | None = None
        self._front_tries, self._front_since, self._front_ended = Tries(), 0.0, False
        self._listed: list[tuple[str, bool]] = []
        self._tried = ""  # the trial's replica, once it may be asked
        self.trial: Trial | None = None
        self._reload: Reload | None = None
        self._reloading = Lock()
        self._done = Event()
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)

    # ----------------------------------------------------------------------------- start and end

    def open(self) -> None:
        """Returns once every replica is ready. Raises ServerError, and what `while_starting` does.

        Where the newest version of a model cannot be served, an older one is, if that can be.
        """
        self._open_first()
        for index in range(1, self.settings.replicas):
            self.slots.append(Slot(index, self._replica(index, self.release)))
        for slot in self.slots:
            self._wait(slot.current)
        self._publish()

    def _open_first(self) -> None:
        passed_over = held.read(held.path(self.settings))
        versions, instead = newest(self.settings.repository, passed_over), []
        while True:
            copy = next(self._copies)
            try:
                self.release = release.read(self.settings, copy, versions)
                self.slots = [Slot(0, self._replica(0, self.release))]
                self._wait(self.slots[0].current)
                break
            except ModelError as error:
                back = older(self.settings.repository, versions, error.blamed, passed_over)
                if not back:
                    raise
                served = ", ".join(f"{name} {number}" for name, number in back.items())
                instead.append(f"{error}; served instead: {served}")
                shutil.rmtree(copy, ignore_errors=True)
                versions |= back
        for line in instead:
            warn(line)

    def _wait(self, replica: Replica) -> None:
        while replica.state is State.STARTING:
            self._while_starting()
            time.sleep(0.02)
        if replica.state is State.GONE:
            raise replica.fault or ServerError(f"{replica.name} ended")

    def watch(self, envoy: Envoy) -> None:
        """Begins to keep all of them well, the front among them."""
        self._front, self._front_since = envoy, time.monotonic()
        self._thread.start()

    def rest(self) -> None:
        """Ends watching."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Ends the replicas. Nobody may be watching."""
        for each in self.replicas():
            each.leave(0)
        for each in self.replicas():
            each.join()

    def kill(self) -> None:
        """Ends the replicas at once."""
        for each in self.replicas():
            each.kill()

    def replicas(self) -> list[Replica]:
        """Those in their slots, those that are to take over, those that leave."""
        heirs = [slot.heir for slot in self.slots if slot.heir]
        tried = [self.trial.replica] if self.trial else []
        return [*(slot.current for slot in self.slots), *heirs, *tried, *self._left]

    def _replica(self, index: int, served: Release) -> Replica:
        """A new one, for the slot of that index."""
        threads = share(self.settings.threads, self.settings.replicas, index)
        place = self._folder / next(self._names)
        settings = replace(self.settings, threads=threads)
        return Replica(settings, place, served, self._under_way, self._waiting_since)

    def _under_way(self, name: str) -> int:
        return self._front.under_way(name) if self._front else 0

    # ---------------------------------------------------------------------------------- each tick

    def _run(self) -> None:
        told = ""
        while not self._done.wait(TICK_S):
            try:
                self.tick(time.monotonic())
            except ServerError as error:
                self.failed = str(error)
                return
            except OSError as error:  # as of a full disk; the next tick tries again
                if str(error) != told:
                    told = str(error)
                    warn(no_folder(error))

    def tick(self, now: float) -> None:
        """Looks at all, and does what is due. Raises ServerError if nothing helps any more."""
        self._keep_front(now)
        for each in self.replicas():
            each.look()
        self._move_trial()
        for slot in self.slots:
            self._move_on(slot, now)
        self._publish()
        for slot in self.slots:
            if slot.current.state is State.FAULTY and self._serving():
                slot.current.leave(FAULTY_LEAVES_S)
        for each in self._left:
            faulty = each.state is State.FAULTY
            each.leave(FAULTY_LEAVES_S if faulty else self.settings.exit_timeout_s)
        self._forget()

    def _keep_front(self, now: float) -> None:
        assert self._front
        if not (fault := self._front.fault()):
            return
        if not self._front_ended:
            self._front_ended = True
            self._front.end()
            self._front_tries.death(now, now - self._front_since)
            if self._front_tries.hopeless:
                raise ServerError(f"gave up after {self._front_tries.failed} tries: {fault}")
            warn(f"{fault}; it is started again")
            self.restarts["front"] += 1
        if now >= self._front_tries.not_before:
            self._front.start()
            self._front_since, self._front_ended = now, False

    def _move_on(self, slot: Slot, now: float) -> None:
        """Starts an heir where one is wanted, has it take over once it is ready, or counts it."""
        if slot.heir is None:
            if wanted := self._wanted(slot, now):
                slot.heir = self._replica(slot.index, wanted)
        elif slot.heir.state is State.GONE:
            self._lost(slot, slot.heir, now)
        elif slot.heir.state is not State.STARTING:
            self._take_over(slot, slot.heir, now)

    def _move_trial(self) -> None:
        """Has the trial leave or, once the first slot has no heir, become that."""
        if not (trial := self.trial):
            return
        state, first = trial.replica.state, self.slots[0]
        if trial.ends or state is State.GONE:
            self.trial = None
            self._left.append(trial.replica)
            self._retired.append(trial.replica.release)
        elif trial.wins and not first.heir and state in SERVING:
            self.trial, first.heir = None, trial.replica

    def _wanted(self, slot: Slot, now: float) -> Release | None:
        """What an heir of the slot is to serve; None if none is wanted, or not yet."""
        if slot.current.state is not State.WELL:
            if slot.missed_at is None:
                slot.missed_at = now
                self.restarts[slot.name] += 1
                warn(f"{slot.name}: {slot.current.fault}; another is started")
                slot.tries.death(now, now - slot.current.ready_at)
                self._check_hope(slot, slot.current)
            return self.release if now >= slot.tries.not_before else None
        if any(each.heir for each in self.slots):
            return None  # one after another where there is no need
        newer = self._reload.release if self._reload and not self._reload.refused else self.release
        return newer if slot.current.release is not newer else None

    def _lost(self, slot: Slot, heir: Replica, now: float) -> None:
        """An heir that ended before it was ready."""
        slot.heir = None
        if heir.release is not self.release and self._reload:
            self._reload.refused = str(heir.fault)
            self._retired.append(heir.release)
        else:
            slot.tries.failure(now)
            self._check_hope(slot, heir)

    def _take_over(self, slot: Slot, heir: Replica, now: float) -> None:
        if slot.missed_at is not None:
            warn(f"{slot.name}: replaced after {now - slot.missed_at:.1f} s")
        if heir.release is not self.release:
            self._retired.append(self.release)
            self.release = heir.release
        self._left.append(slot.current)
        slot.current, slot.heir, slot.missed_at = heir, None, None

    def _check_hope(self, slot: Slot, replica: Replica) -> None:
        """Raises ServerError if there is none, and no other replica serves."""
        if not slot.tries.hopeless:
            return
        if not self._serving():
            raise ServerError(f"gave up after {slot.tries.failed} tries: {replica.fault}")
        warn(f"{slot.name}: {replica.fault}, {slot.tries.failed} times in a row; others serve on")

    def _serving(self) -> list[Replica]:
        return [slot.current for slot in self.slots if slot.current.state in SERVING]

    def _publish(self) -> None:
        """Tells the front whom to ask: those that serve, else whoever is in a slot.

        It is told of the others as well, since it still has requests at them.
        """
        asked = self._serving() or [slot.current for slot in self.slots]
        others = [each for each in self._left if each.state is not State.GONE]
        others += [slot.current for slot in self.slots if slot.current not in asked]
        listed = [(each.name, each in asked) for each in [*asked, *others]]
        trial, tried = self.trial, ""
        if trial and not trial.ends and trial.replica.state in SERVING:
            tried = trial.replica.name
        if (listed, tried) != (self._listed, self._tried):
            for name, endpoints in front.endpoints(listed, tried).items():
                door.write(self._folder / f"{name}.json", [endpoints])
            self._listed, self._tried = listed, tried

    def _forget(self) -> None:
        """What has ended: replicas that left, copies that nobody serves, a reload."""
        self._left = [each for each in self._left if each.state is not State.GONE]
        served = [each.release for each in self.replicas()]
        for each in [each for each in self._retired if each not in served]:
            shutil.rmtree(each.folder, ignore_errors=True)
            self._retired.remove(each)
        if (ours := self._reload) and (
            ours.refused or all(slot.current.release is ours.release for slot in self.slots)
        ):
            ours.done.set()

    # ------------------------------------------------------------------------------------- reload

    def reload(self) -> dict[str, int]:
        """Serves the repository as it is now; returns each model's version.

        A first replica of it must be ready before any other leaves. Raises ServerError, and leaves
        all as it was, if it is not.
        """
        if not self._reloading.acquire(blocking=False):
            raise ServerError("a reload is under way")
        try:
            if self.trial:
                raise ServerError("a roll-out is under way")
            with self.published.taking() if self.published else nullcontext():
                return self._serve(self._read())
        finally:
            self._reload = None
            self._reloading.release()

    def _read(self, versions: dict[str, int] | None = None) -> Release:
        """The repository as it is now, the newest versions unless given. Raises ServerError."""
        fresh = release.read(self.settings, next(self._copies), versions)
        if fresh.ensembles != self.release.ensembles:
            self._retired.append(fresh)
            known = ", ".join(fresh.ensembles)
            raise ServerError(f"the ensembles are others ({known}): restart the server")
        return fresh

    def _serve(self, fresh: Release) -> dict[str, int]:
        asked = self._reload = Reload(fresh)
        while not asked.done.wait(0.1):
            self._stay()
        if asked.refused:
            raise ServerError(asked.refused)
        return fresh.versions

    def _stay(self) -> None:
        if self._done.is_set() or self.failed:
            raise ServerError(self.failed or "the server is stopping")

    # ------------------------------------------------------------------------------------- a trial

    def try_out(self, versions: dict[str, int]) -> Trial:
        """Starts a replica of the repository with these versions beside the others; returns once
        it is ready. Raises ServerError if it is not, or if a reload is under way."""
        if not self._reloading.acquire(blocking=False):
            raise ServerError("a reload is under way")
        try:
            while self.trial:  # the one before is about to leave
                self._stay()
                time.sleep(TICK_S / 4)
            trial = self.trial = Trial(self._replica(0, self._read(versions)))
            while trial.replica.state is State.STARTING:
                self._stay()
                time.sleep(0.1)
            if trial.replica.state not in SERVING:
                trial.ends = True
                raise ServerError(str(trial.replica.fault))
            return trial
        finally:
            self._reloading.release()

    def serve_trial(self, trial: Trial) -> dict[str, int]:
        """Has it take over, and the others be replaced; returns each model's version. Raises
        ServerError if that fails."""
        if not self._reloading.acquire(blocking=False):
            raise ServerError("a reload is under way")
        try:
            trial.wins = True
            return self._serve(trial.replica.release)
        finally:
            trial.ends = True  # where it did not take over
            self._reload = None
            self._reloading.release()
