"""A roll-out: a version is tried beside the one that is served, and taken over or taken back.

The supervisor has the replica, the front gives it its share of the requests (front.trial), and
compare.py asks both versions what some clients asked. Here is what that comes to: docs/rollout.md.
"""

import json
import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from server import door, front, held
from server.compare import Answer, Failed, Refused, ask
from server.differences import BATCH, BATCHES_MIN, SURE_OF_TIMES, Differences, share_interval
from server.log import say, warn
from server.metrics import family
from server.question import Question
from server.readiness import LISTS, malformed
from server.replica import SERVING, State
from server.repository import versions
from server.settings import ServerError
from server.supervisor import Supervisor, Trial

LOOK_S = 0.2
PATIENCE_S = 1.0  # for another command
FAILED_MIN = 3  # answers, before any count
PAGES_MIN = 30  # that were compared, before verdicts count
REMEMBERED = 2000  # latest times of answers
FAILURES = ("error", "unavailable", "timeout")  # outcomes of server/traffic.py
OUTCOMES = ("promoted", "back", "taken_back")
SIDES = SERVED, TRIED = "served", "tried"
COUNTED = ("asked", "failed")
TOLD = {  # of the metrics of a roll-out that is under way
    "share": "per cent of the requests that the version on trial answers",
    "served_asked": "requests to the version that is served, since the roll-out began",
    "served_failed": "of these, without an answer",
    "tried_asked": "requests to the version on trial",
    "tried_failed": "of these, answered by another, or by none",
    "pages": "pages that both versions answered",
    "other_verdict": "of these, pages with another verdict",
    "times_as_long": "time of a page, over that of the version that is served",
}


@dataclass(frozen=True)
class Limits:
    """Beyond which a version is taken back. Raises ServerError with the option for none."""

    errors: float = 1  # per cent of its answers that fail, above those of the served one
    slower: float = 2  # times as long for a page
    differ: float = 20  # per cent of the pages with another verdict

    def __post_init__(self) -> None:
        ranges = {"errors": (0, 100), "slower": (1, 1000), "differ": (0, 100)}
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:  # refuses NaN as well
                raise ServerError(f"--{name}: {getattr(self, name)}, limit {least} to {most}")


@dataclass
class Side:
    """What came of requests to one of the versions."""

    asked: int = 0
    failed: int = 0
    took_ms: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # of clients

    def add(self, failed: bool) -> None:
        self.asked, self.failed = self.asked + 1, self.failed + failed

    @property
    def share(self) -> float:
        return self.failed / self.asked if self.asked else 0.0

    def figures(self) -> dict[str, Any]:
        took = sorted(self.took_ms)
        at = {p: took[min(len(took) - 1, len(took) * p // 100)] if took else None for p in (50, 99)}
        return {
            "asked": self.asked,
            "failed": self.failed,
            "p50_ms": at[50],
            "p99_ms": at[99],
        }


@dataclass
class Rollout:
    """Of a `version` of `model`, where version `before` is served."""

    model: str
    version: int
    before: int
    share: int  # per cent, 0 for a shadow
    limits: Limits
    trial: Trial
    began: str
    sides: dict[str, Side] = field(default_factory=lambda: {SERVED: Side(), TRIED: Side()})
    differences: Differences = field(default_factory=Differences)

    def __str__(self) -> str:
        given = (
            f"{self.share} % of the requests" if self.share else "a shadow, which answers nobody"
        )
        return f"{self.model} {self.version}: {given}"

    def fault(self) -> str:
        """Why it is to be taken back; "" if it is not, or if that is not certain yet."""
        replica = self.trial.replica
        if replica.state is not State.WELL:
            return str(replica.fault or f"{replica.name} is {replica.state.value}")
        return self.errors() or self.times() or self.verdicts()

    def errors(self) -> str:
        served, tried = self.sides[SERVED], self.sides[TRIED]
        least, _ = share_interval(tried.failed, tried.asked)
        if tried.failed < FAILED_MIN or least <= served.share + self.limits.errors / 100:
            return ""
        return (
            f"{tried.failed} of {tried.asked} answers failed, of the served version "
            f"{served.failed} of {served.asked}; limit {self.limits.errors:g} % more"
        )

    def times(self) -> str:
        slower = self.differences.slower
        least = slower.interval(SURE_OF_TIMES)[0]
        if slower.count < BATCHES_MIN or least <= math.log(self.limits.slower):
            return ""
        return (
            f"a page takes {math.exp(slower.mean):.2f} times as long, at least "
            f"{math.exp(least):.2f}, of {slower.count * BATCH}; limit {self.limits.slower:g}"
        )

    def verdicts(self) -> str:
        other, pages = self.differences.other_verdict, self.differences.pages
        least, _ = share_interval(other, pages)
        if pages < PAGES_MIN or least <= self.limits.differ / 100:
            return ""
        return f"{other} of {pages} pages have another verdict; limit {self.limits.differ:g} %"

    def figures(self) -> dict[str, Any]:
        """What `status` shows."""
        found, slower = self.differences, self.differences.slower
        return {
            "model": self.model,
            "version": self.version,
            "before": self.before,
            "share": self.share,
            "began": self.began,
            "limits": asdict(self.limits),
            **{name: side.figures() for name, side in self.sides.items()},
            "compared": {
                "pages": found.pages,
                "other_verdict": found.other_verdict,
                "other_verdict_share": rounded(share_interval(found.other_verdict, found.pages)),
                "boxes": {
                    name: {
                        "both": found.kept[name],
                        "gained": found.gained[name],
                        "lost": found.lost[name],
                    }
                    for name in sorted({*found.kept, *found.gained, *found.lost})
                },
                "score_shift": round(found.shift.mean, 4),
                "score_shift_interval": rounded(found.shift.interval()),
                "times_as_long": round(math.exp(slower.mean), 3) if slower.count else None,
                "times_as_long_interval": rounded(tuple(map(exp, slower.interval(SURE_OF_TIMES)))),
            },
        }


def exp(number: float) -> float:
    return math.exp(number) if number < 700 else math.inf


def rounded(interval: tuple[float, ...]) -> list[float] | None:
    """None where nothing is known."""
    return [round(end, 4) for end in interval] if all(map(math.isfinite, interval)) else None


class Rollouts:
    """The roll-out of a server, if one is under way, and how the last one ended."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self.current: Rollout | None = None
        self.ended = Counter({outcome: 0 for outcome in OUTCOMES})
        self._last: dict[str, Any] = {}
        self._supervisor, self._folder = supervisor, folder
        self._held = held.path(supervisor.settings)
        self._commanded = Lock()  # one after another
        self._counting = Lock()  # what is in `current`
        self._first = False  # whether the tried version is asked before the served one
        self._done = Event()
        self._thread = Thread(target=self._watch, name="rollout", daemon=True)
        self._tell_front(0, 0)

    def watch(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Looks no more; what is on trial is held, and not served at the next start."""
        self._done.set()
        self._thread.join()

    # ----------------------------------------------------------------------------------- commands

    def start(self, model: str, version: int, share: int, limits: Limits) -> str:
        """Returns, with a line that says so, once the version is on trial. Raises ServerError."""
        if not self._commanded.acquire(timeout=PATIENCE_S):
            raise ServerError("a roll-out is being started or ended")
        try:
            if ours := self.current:
                if (ours.model, ours.version) != (model, version):
                    raise ServerError(f"a roll-out is under way: {ours}; promote or back ends it")
                ours.share, ours.limits = share, limits
                self._tell_front(share, 100)
                self._log("changed", ours)
                return f"on trial: {ours}"
            return self._start(model, version, share, limits)
        finally:
            self._commanded.release()

    def _start(self, model: str, version: int, share: int, limits: Limits) -> str:
        settings, served = self._supervisor.settings, self._supervisor.release.versions
        if model not in served:
            raise ServerError(f"--model: {model!r}, known are {', '.join(served)}")
        if version == served[model]:
            raise ServerError(f"--version: {version}, which is what is served of {model}")
        there = versions(settings.repository, model)
        if version not in there:
            listed = ", ".join(map(str, sorted(there)))
            raise ServerError(f"--version: {version}, of {model} there are {listed}")
        began = now()
        self._hold(model, version, f"on trial since {began}")
        try:
            trial = self._supervisor.try_out(served | {model: version})
        except ServerError as error:
            self._hold(model, version, f"not started {began}: {error}")
            raise ServerError(f"not started, what was served is served on: {error}") from error
        ours = self.current = Rollout(model, version, served[model], share, limits, trial, began)
        self._tell_front(share, 100)
        self._log("started", ours)
        return f"on trial: {ours}"

    def promote(self) -> str:
        """Has the version on trial take over; returns, with a line, once it serves alone."""
        with self._commanded:
            ours = self._under_way()
            if fault := ours.fault():
                self._end(ours, "taken_back", fault)
                raise ServerError(f"{ours.model} {ours.version} was taken back: {fault}")
            self.current = None
            self._tell_front(0, 0)
            try:
                self._supervisor.serve_trial(ours.trial)
            except ServerError as error:
                self._end(ours, "taken_back", str(error))
                raise
            self._let_go(ours)
            self._close(ours, "promoted", "")
            return f"{ours.model} {ours.version} is served"

    def back(self, why: str = "by hand") -> str:
        """Has the version on trial answer nobody any more."""
        with self._commanded:
            ours = self._under_way()
            self._end(ours, "back", why)
            return f"{ours.model} {ours.before} is served alone; {ours.version} is held"

    def hold(self, model: str, version: int) -> str:
        """Has no start or reload serve a version that is or will be in the repository."""
        if model not in (known := self._supervisor.release.versions):
            raise ServerError(f"--model: {model!r}, known are {', '.join(known)}")
        if version == known[model]:
            raise ServerError(f"--version: {version}, which is what is served of {model}")
        with self._commanded:
            self._hold(model, version, f"by hand {now()}")
        return f"{model} {version} is held"

    def status(self) -> dict[str, Any]:
        """What is under way, how the last one ended, and which versions are held."""
        with self._counting:
            current = self.current.figures() if self.current else None
        return {"under_way": current, "last": self._last or None, "held": held.read(self._held)}

    def _under_way(self) -> Rollout:
        if self.current:
            return self.current
        known = [
            f"{model} {version} is held: {why}"
            for model, all_of_them in held.read(self._held).items()
            for version, why in all_of_them.items()
        ]
        raise ServerError("; ".join(["no roll-out is under way", *known]))

    # ------------------------------------------------------------------------------- how it ends

    def _watch(self) -> None:
        while not self._done.wait(LOOK_S):
            if not (ours := self.current) or not (fault := ours.fault()):
                continue
            if self._commanded.acquire(blocking=False):
                try:
                    if ours is self.current:
                        self._end(ours, "taken_back", fault)
                finally:
                    self._commanded.release()

    def _end(self, ours: Rollout, outcome: str, why: str) -> None:
        self._tell_front(0, 0)
        ours.trial.ends = True
        told = "taken back" if outcome == "taken_back" else "back"
        try:
            self._hold(ours.model, ours.version, f"{told} {now()}: {why}")
        except ServerError as error:  # it is held as on trial
            warn(str(error))
        self._close(ours, outcome, why)
        self.current = None

    def _close(self, ours: Rollout, outcome: str, why: str) -> None:
        self.ended[outcome] += 1
        with self._counting:
            self._last = {"outcome": outcome, "why": why, "ended": now(), **ours.figures()}
        self._log(outcome, ours, why)
        if outcome == "taken_back":
            warn(f"{ours.model} {ours.version} was taken back: {why}")

    def _log(self, what: str, ours: Rollout, why: str = "") -> None:
        with self._counting:
            line = {"time": now(), "event": "rollout", "what": what, "why": why, **ours.figures()}
        say(json.dumps(line))

    def _tell_front(self, share: int, compared: int) -> None:
        door.write(self._folder / "rollout.json", [front.trial(share, compared)])

    def _hold(self, model: str, version: int, why: str) -> None:
        held.write(self._held, held.with_one(held.read(self._held), model, version, why))

    def _let_go(self, ours: Rollout) -> None:
        """A start serves the version from now on, and none above it."""
        left = held.without(held.read(self._held), ours.model, ours.version)
        for newer in versions(self._supervisor.settings.repository, ours.model):
            if newer > ours.version and newer not in left.get(ours.model, {}):
                why = f"version {ours.version} was promoted {now()}"
                left = held.with_one(left, ours.model, newer, why)
        held.write(self._held, left)

    # --------------------------------------------------------------------------- what is counted

    def saw(self, record: dict, came: str) -> None:
        """Counts a line of the front's log, of an inference, and what came of it.

        What another version had to answer in place of the tried one counts as its failure.
        """
        if not (ours := self.current) or not record.get("replica"):
            return
        name = TRIED if front.TRIAL in (record["cluster"] or "") else SERVED
        with self._counting:
            side = ours.sides[name]
            side.add(came in FAILURES or (record["attempts"] or 1) > 1)
            if came == "answered":
                side.took_ms.append(record["milliseconds"])

    def compare(self, asked: Question) -> None:
        """Asks both versions, now the one first, now the other, and counts what differs."""
        ours, slot = self.current, self._supervisor.slots[0]
        if not ours or slot.current.state not in SERVING:
            return
        release = ours.trial.replica.release
        goldens = {golden.ensemble: golden for golden in release.goldens}
        if ours.model not in (asked.ensemble, *goldens[asked.ensemble].steps):
            return
        urls = {SERVED: slot.current.triton.http_url, TRIED: ours.trial.replica.triton.http_url}
        self._first = not self._first
        answers: dict[str, tuple[Answer, float] | Exception] = {}
        for name in sorted(urls, reverse=self._first):
            try:
                answers[name] = ask(urls[name], asked)
            except (Refused, Failed) as error:
                answers[name] = error
        if ours is self.current:
            with self._counting:
                count(ours, release.ensembles[asked.ensemble], answers[SERVED], answers[TRIED])

    def lines(self) -> Iterator[str]:
        """The metrics."""
        ours = self.current
        yield from family("countersign_rollout_under_way", "gauge", "1 while a version is on trial")
        yield f"countersign_rollout_under_way {int(ours is not None)}"
        yield from family("countersign_rollouts_total", "counter", "roll-outs that ended, by how")
        for outcome, number in self.ended.items():
            yield f'countersign_rollouts_total{{outcome="{outcome}"}} {number}'
        if ours:
            with self._counting:
                figures = flat(ours.figures())
            for name, value in figures.items():
                yield from family(f"countersign_rollout_{name}", "gauge", TOLD[name])
                yield f"countersign_rollout_{name} {value}"


def flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those that are metrics, by name."""
    compared = figures["compared"]
    sides = {f"{side}_{name}": figures[side][name] for side in SIDES for name in COUNTED}
    found = {name: compared[name] for name in ("pages", "other_verdict")}
    if compared["times_as_long"] is not None:
        found["times_as_long"] = compared["times_as_long"]
    return {"share": figures["share"], **sides, **found}


def count(
    ours: Rollout,
    kind: str,
    served: tuple[Answer, float] | Exception,
    tried: tuple[Answer, float] | Exception,
) -> None:
    """Adds what both versions gave for a page: their answers and seconds, or why there is none.

    What both refuse is the page's fault, what the tried one alone refuses is its failure.
    """
    served, tried = well_formed(kind, served), well_formed(kind, tried)
    refuses = isinstance(tried, Refused) and not isinstance(served, Refused)
    ours.sides[SERVED].add(isinstance(served, Failed))
    ours.sides[TRIED].add(isinstance(tried, Failed) or refuses)
    if isinstance(served, Exception) or isinstance(tried, Exception):
        return
    ours.differences.add(kind, served[0], tried[0])
    ours.differences.took(served[1], tried[1])


def well_formed(
    kind: str, given: tuple[Answer, float] | Exception
) -> tuple[Answer, float] | Exception:
    """`given`, or that it is no answer of an ensemble of that kind."""
    if isinstance(given, Exception) or kind not in LISTS:
        return given
    reason = malformed(kind, dict(given[0]))
    return Failed(reason) if reason else given


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def wanted(told: Mapping[str, Any]) -> tuple[str, int, int, Limits]:
    """Model, version, share and limits of a start. Raises ServerError with the option's name."""
    share, shadow = told.get("share"), told.get("shadow", False)
    if (share is None) == (not shadow):
        raise ServerError("--share or --shadow: one of them is needed")
    if shadow:
        share = 0
    elif not (isinstance(share, int) and 1 <= share <= 100):
        raise ServerError(f"--share: {share}, limit a whole number of per cent, 1 to 100")
    given = {
        each.name: told[each.name] for each in fields(Limits) if told.get(each.name) is not None
    }
    return *model_version(told), share, Limits(**given)


def model_version(told: Mapping[str, Any]) -> tuple[str, int]:
    """Raises ServerError with the option's name."""
    if not isinstance(version := told.get("version"), int) or version < 1:
        raise ServerError(f"--version: {version}, limit a whole number from 1")
    return str(told.get("model")), version
